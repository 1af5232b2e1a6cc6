"""Epsilon: a larger ball holds all of the smaller one's images, so accuracy must not rise with it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor

from reinforced.attacks.base import AttackSettings
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, counted, listed
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.statistics import Gain, holm


class EpsilonRising(Check):
    """The claimed attack at 1, 1.5, 2 and 3 times epsilon on the same images (Athalye et al. 2018, 3.1).

    At factor 1 the claim's own outcome is taken, of a deterministic model. An attack dearer than
    ``dearest`` passes is replaced by PGD with the margin loss, at all four radii.
    Cost: three (four) times the attack's, on ``images`` images that stand: 120 for PGD-20.
    Fires: between two neighbouring radii, or the first and the last, significantly more images come back
    than are lost: one-sided exact McNemar test, Holm over the four, ``level``.
    False positives: a fraction ``level`` of sound claims by construction; 0 of the calibration models.
    """

    name: ClassVar[str] = "epsilon_rising"

    factors: tuple[float, ...] = setting((1.5, 2.0, 3.0), "times epsilon", source="Carlini et al. 2019")
    images: int = setting(64, "at most on the quick budget; 256 on standard, all on thorough", ge=1)
    dearest: int = setting(100, "passes an image of the claimed attack, on quick; else ten times that", ge=1)
    level: float = setting(0.01, "of the test", gt=0, lt=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        claimed = parse_attack(case.claim.attack)
        quick = case.budget == "quick"
        dearest = self.dearest if quick else 10 * self.dearest
        attack = claimed if 2 * claimed.cost <= dearest else PGD(loss="margin").suited(case.draws)
        reason = case.blocks(attack.access)
        if reason:
            return self.cannot(f"{attack.name} cannot be run: {reason}.")
        most = {"quick": self.images, "standard": 4 * self.images, "thorough": len(case.clean)}[case.budget]
        on = case.among(case.clean, most)
        witnesses: tuple[int, ...] = ()
        if attack is not claimed:
            done = case.attack(attack, on=on, draws=min(case.draws, 20))
            left, witnesses = [on & ~done.broken], case.witnesses(done.broken)
        elif case.draws > 1:
            # A claim counts breaks by half of the draws, a check by more: only alike are they to be compared.
            left = [self._left(case, attack, on, case.threat.epsilon)]
        else:
            left = [on & case.claimed]
        radii = [case.threat.epsilon * factor for factor in self.factors]
        if case.threat.norm == "linf":
            radii = sorted({min(radius, 1.0) for radius in radii} - {case.threat.epsilon})
        left += [self._left(case, attack, on, radius) for radius in radii]
        counts: dict[str, Any] = {
            f"left_at_{radius:.4g}": int(kept.sum())
            for radius, kept in zip([case.threat.epsilon, *radii], left, strict=True)
        }
        pairs = list(pairwise(left)) + ([(left[0], left[-1])] if len(left) > 2 else [])
        p = min(holm([_rise(before, after) for before, after in pairs]), default=1.0)
        shown = listed([f"{int(kept.sum())}" for kept in left])
        grown = listed([f"{radius:.3g}" for radius in (case.threat.epsilon, *radii)])
        said = f"{attack.name} leaves {shown} of {counted(int(on.sum()), 'image')} at epsilon {grown}"
        if p < self.level:
            said = f"{said}: more, though a larger ball holds all of a smaller one."
            return self.fires("failed control", said, witnesses=witnesses, p=p, **counts)
        if witnesses:
            return self.fires("witness", f"{said}.", witnesses=witnesses, p=p, **counts)
        return self.silent(f"{said}.", p=p, **counts)

    def _left(self, case: Case, attack: AttackSettings, on: Tensor, radius: float) -> Tensor:
        threat = ThreatModel(case.threat.norm, radius)
        if isinstance(attack, PGDAsReleased):
            rows = on.nonzero().squeeze(1)
            released = attack.run(case.model, case.images[rows], case.labels[rows], threat, seed=case.seed)
            case.passes += released.forwards + released.gradients
            left = on.clone()
            left[rows] = released.correct.cpu()
            return left
        return on & ~case.attack(attack, on=on, threat=threat, draws=min(case.draws, 20)).broken


def _rise(before: Tensor, after: Tensor) -> float:
    return Gain(int((after & ~before).sum()), int((before & ~after).sum()), len(before)).p
