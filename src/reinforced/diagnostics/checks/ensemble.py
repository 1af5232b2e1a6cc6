"""The full ensemble: AutoAttack's own cascade, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch

from reinforced.attacks.spec import parse_attack
from reinforced.component import setting
from reinforced.diagnostics.case import Budget, Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding

FEWEST = 4
"""Classes that AutoAttack needs."""


class Ensemble(Check):
    """AutoAttack (Croce and Hein 2020), its ``rand`` version on randomised models, and PGD on more losses.

    On images that still stand. Cost: up to 10,000 passes an image that survives. Its black-box part counts
    here as the rest. No known false positive: every example is re-verified.
    """

    name: ClassVar[str] = "ensemble"
    since: ClassVar[Budget] = "standard"

    attacks: tuple[str, ...] = setting(
        ("pgd(steps=100,restarts=5,loss=margin)", "pgd(steps=100,restarts=5,loss=gap)", "autoattack"),
        "run on deterministic models",
    )
    few: tuple[str, ...] = setting(
        ("apgd(loss=ce)", "fab(targeted=true)", "square"),
        "run in place of AutoAttack with 2 or 3 classes, which its losses and targets do not take",
    )
    randomised: tuple[str, ...] = setting(
        ("pgd(steps=50,eot=20,loss=margin)", "autoattack(version=rand)"), "run on randomised models"
    )

    def measure(self, case: Case) -> Finding:
        """Run every member on what still stands."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"Its members need gradients, and the model gives none: {reason}.")
        before = case.standing
        broken = torch.zeros_like(before)
        for name in self._members(case):
            broken |= case.attack(parse_attack(name), on=case.standing).broken
        count, standing = int(broken.sum()), int(before.sum())
        if not count:
            return self.silent(
                f"AutoAttack and PGD on more losses break none of the {standing} images that still stood.",
                broken=0,
            )
        return self.fires(
            "witness",
            f"AutoAttack and PGD on more losses break {count} of the {standing} images that still stood.",
            witnesses=case.witnesses(broken),
            broken=count,
            standing=standing,
        )

    def _members(self, case: Case) -> Iterator[str]:
        for name in self.randomised if case.checked.randomised else self.attacks:
            if name.startswith("autoattack") and case.checked.classes < FEWEST:
                yield from self.few
            else:
                yield name
