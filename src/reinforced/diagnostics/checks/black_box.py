"""Black box: what scores or predicted classes alone find, gradients should have found first."""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from reinforced.attacks.base import AttackSettings
from reinforced.attacks.hopskipjump import HopSkipJump
from reinforced.attacks.rays import RayS
from reinforced.attacks.square import Square
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, listed
from reinforced.diagnostics.findings import Finding, Grade
from reinforced.diagnostics.statistics import Share, exceeds
from reinforced.errors import ReinforcedError


class BlackBox(Check):
    """Square, and RayS (L-inf) or HopSkipJump (L2), each on the images that stand when its turn comes.

    The second needs predicted classes alone, so it also runs on models that give labels only; HopSkipJump is
    left out on randomised models, whose answers change under its feet.
    Cost: 200 + 100 queries an image quick, 1,000 each standard, 5,000 each thorough (HopSkipJump: about 150,
    1,500 and 5,000).
    Fires: any witness; a failed control where it breaks significantly more (exact binomial test at
    ``level``) than the share ``beaten`` of what gradients left (Athalye et al. 2018, section 3.1; the share
    is the verdict's own bound on attacks without gradients).
    False positives: none of the witnesses; a very weak claimed attack loses too, with sound gradients.
    """

    name: ClassVar[str] = "black_box"

    beaten: float = setting(0.03, "share of the standing images", gt=0, lt=1)
    level: float = setting(0.05, "of the test", gt=0, lt=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        reason = case.blocks("labels")
        if reason:
            return self.cannot(f"It needs predictions, and the model gives none: {reason}.")
        before = case.standing
        broken = torch.zeros_like(before)
        figures: dict[str, Any] = {}
        refused = []
        for attack in self._attacks(case):
            if case.blocks(attack.access):
                refused.append(f"{attack.name} cannot be run: {case.blocks(attack.access)}")
                continue
            try:
                done = case.attack(attack, on=case.standing, draws=min(case.draws, 20))
            except ReinforcedError as error:
                refused.append(str(error))
                continue
            broken |= done.broken
            figures[attack.name] = int(done.broken.sum())
        if not figures:
            return self.cannot(f"{'; '.join(refused)}.")
        witnesses, standing = case.witnesses(broken), int(before.sum())
        broke = f"break {len(witnesses)} of the {standing} images that still stood"
        said = "; ".join([f"Without gradients, {listed(list(figures))} {broke}", *refused]) + "."
        if not witnesses:
            return self.silent(said, standing=standing, **figures)
        p = exceeds(Share(len(witnesses), standing), self.beaten)
        grade: Grade = "failed control" if p < self.level else "witness"
        return self.fires(grade, said, witnesses=witnesses, black_box=True, p=p, standing=standing, **figures)

    def _attacks(self, case: Case) -> list[AttackSettings]:
        queries, rays, steps, evaluations = {
            "quick": (200, 100, 2, 50),
            "standard": (1000, 1000, 10, 60),
            "thorough": (5000, 5000, 25, 60),
        }[case.budget]
        chosen: list[AttackSettings] = [Square(queries=queries, rescale_schedule=True)]
        if case.threat.norm == "linf":
            chosen.append(RayS(queries=rays, stop_inside=True))
        elif not case.checked.randomised:
            chosen.append(HopSkipJump(steps=steps, initial_evaluations=evaluations, start_draws=100))
        return chosen
