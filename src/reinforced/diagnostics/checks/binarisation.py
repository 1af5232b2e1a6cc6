"""Binarisation: an attack that cannot solve a problem whose solution is known proves no robustness."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from reinforced.attacks.base import AttackSettings, run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.random_search import RandomSearch
from reinforced.attacks.seal import device_of, sealed
from reinforced.attacks.spec import parse_attack
from reinforced.component import setting
from reinforced.diagnostics.binarised import Binarised, Problems, build, groups
from reinforced.diagnostics.case import Budget, Case
from reinforced.diagnostics.checks.base import Check, listed
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.readout import read_out
from reinforced.streams import Stream

_PAPER = "Zimmermann et al. 2022"


class Binarisation(Check):
    """The binarisation test (Zimmermann et al. 2022, arXiv 2206.13991).

    Around each image the read-out is replaced by one that keeps ``inner`` points of the ball in the image's
    class and gives one point on its surface away (:mod:`reinforced.diagnostics.binarised`): so a solution
    exists. The claimed attack, where it is sealed and not dearer than ``dearest`` passes, and PGD with the
    margin loss are to find one. Where no read-out can be replaced, the binary one reads the model's logits.
    Cost: ``inner`` passes and the attacks' (240 for the margin's 100 steps, 100 for the random draws it is
    compared with) on ``images`` images.
    Fires: the better attack solves less than ``success`` of the problems, the paper's threshold; a hint where
    the claimed one alone does: what it misses on the claim's own images is then counted by the others.
    False positives: none in calibration.
    """

    name: ClassVar[str] = "binarisation"
    since: ClassVar[Budget] = "standard"

    images: int = setting(64, "at most; 512 on the thorough budget, as in the paper", ge=1)
    inner: int = setting(999, "points in the image's class", ge=1, source=_PAPER)
    candidates: int = setting(20, "points on the surface, of which one is given away", ge=1)
    success: float = setting(0.95, "share of the problems that an attack must solve", source=_PAPER)
    fewest: int = setting(20, "problems, to say anything", ge=1)
    dearest: int = setting(1000, "passes an image of the claimed attack", ge=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        draws = 8 if case.checked.randomised else 1
        problems, head, made = self._problems(case, draws)
        if len(problems.labels) < self.fewest:
            return self.cannot(
                f"Only {len(problems.labels)} of {made} images gave a problem with a known solution, and "
                f"{self.fewest} are needed."
            )
        rates: dict[str, float] = {}
        for attack in self._attacks(case):
            rates[attack.name] = self._solved(case, problems, head, attack, draws)
        guessed = self._solved(case, problems, head, RandomSearch(samples=100), draws)
        figures: dict[str, Any] = {
            **rates,
            "random": guessed,
            "problems": len(problems.labels),
            "threshold": self.success,
            "features": "the model's logits" if head is None else "what its read-out gets",
        }
        shown = listed([f"{name} solves {100 * rate:.0f} %" for name, rate in rates.items()])
        said = f"Of {len(problems.labels)} problems whose solution is known, {shown}"
        if max(rates.values()) < self.success:
            return self.fires(
                "failed control",
                f"{said}: attacks by gradients do not see what this model hides.",
                remedies=("ensemble", "bpda", "randomness", "convergence"),
                **figures,
            )
        if min(rates.values()) < self.success:
            return self.fires(
                "heuristic", f"{said}: the claimed attack is too weak, gradients are not.", **figures
            )
        return self.silent(f"{said}.", **figures)

    def _problems(self, case: Case, draws: int) -> tuple[Problems, nn.Module | None, int]:
        """Those that have a solution, with the read-out they replace; and of how many images."""
        device = device_of(case.model)
        count = 512 if case.budget == "thorough" else self.images
        rows = case.among(case.clean, count).nonzero().squeeze(1)
        images, labels = case.images[rows].to(device), case.labels[rows].to(device)
        best: tuple[Problems, nn.Module | None] | None = None
        with sealed(case.model, device) as model, torch.no_grad():
            torch.manual_seed(case.seed)
            found = read_out(case.model, images[:4], case.checked.classes)
            for head in [found, None] if found is not None else [None]:
                made = build(
                    model,
                    images,
                    labels,
                    case.threat,
                    Stream(case.seed, "binarisation"),
                    head=head,
                    inner=self.inner,
                    candidates=self.candidates,
                    draws=draws,
                )
                solved = made.only(made.solved)
                if best is None or len(solved.labels) > len(best[0].labels):
                    best = solved, head
                if len(solved.labels) >= self.fewest:
                    break
            case.passes += model.forwards
        assert best is not None
        return *best, len(rows)

    def _attacks(self, case: Case) -> list[AttackSettings]:
        claimed = parse_attack(case.claim.attack)
        own = (
            PGD(steps=50, loss="margin", eot=20) if case.checked.randomised else PGD(steps=100, loss="margin")
        )
        usable = not isinstance(claimed, PGDAsReleased) and 2 * claimed.cost <= self.dearest
        return [claimed, own] if usable and claimed != own else [own]

    def _solved(
        self, case: Case, problems: Problems, head: nn.Module | None, attack: AttackSettings, draws: int
    ) -> float:
        attacked = left = 0
        for rows in groups(problems.originals, case.threat):
            part = problems.only(rows)
            result = run_attack(
                attack,
                Binarised(case.model, head, case.threat, part),
                part.originals.cpu(),
                part.labels.cpu(),
                case.threat,
                seed=case.seed,
                draws=draws,
            )
            case.passes += result.passes
            attacked += int(result.attacked.sum())
            left += int(result.robust.sum())
        return 1 - left / max(1, attacked)
