"""Does the claimed attack's own code take its steps, and stay where it may?"""

from __future__ import annotations

from typing import Any, ClassVar

import torch

from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding, Grade

LOSSES: tuple[Loss, ...] = ("ce", "margin")


class AttackLint(Check):
    """The length of the released procedure's steps over their nominal length, and its images outside [0,1].

    Sealed attacks are projected by the runner and have nothing to lint. The procedure is run again for up to
    ``probed`` steps (same seed, so the same steps); it fires where the median claimed image's median step is
    below ``ratio``, or where images left the box; then corrected PGD (sum loss, clipped, same steps) attacks
    the claimed images, on cross-entropy and on the margin. A mechanism with witnesses where steps were short,
    a hint where the corrected attack breaks nothing. Cost: 2 probed + 1 passes on all images, then 4 a step
    on survivors, at most ``quick_steps`` in the quick budget. Threshold: a sound step has ratio 1 up to
    rounding, so 0.9 (docs/checks/attack_lint.md). False positives: none known for step lengths; leaving the
    box makes the attack stronger, not weaker, and is a hint alone.
    """

    name: ClassVar[str] = "attack_lint"

    ratio: float = setting(0.9, "median step over nominal step, below which it fires", gt=0, le=1)
    probed: int = setting(20, "steps run again to look at", ge=1)
    quick_steps: int = setting(50, "of the corrected attack in the quick budget, at most", ge=1)

    def measure(self, case: Case) -> Finding:
        """Look at the steps, then take them properly."""
        attack = parse_attack(case.claim.attack)
        if not isinstance(attack, PGDAsReleased):
            return self.silent(
                "The claimed attack cannot go wrong here: the runner projects and scores what it proposes."
            )
        if not case.claimed.any():
            return self.silent("The claimed attack leaves no image.")
        again = attack.model_copy(update={"steps": min(attack.steps, self.probed)})
        released = again.run(case.model, case.images, case.labels, case.threat, seed=case.seed)
        case.passes += released.forwards + released.gradients
        step = float(released.step_ratios.cpu()[:, case.claimed].median(dim=0).values.median())
        outside = float(released.outside.cpu()[case.claimed].float().mean())
        broken = torch.zeros_like(case.claimed)
        counts = {}
        for loss in LOSSES:
            left = case.claimed & ~broken
            counts[loss] = case.attack(self._corrected(attack, case, loss), on=left).broken
            broken |= counts[loss]
        witnesses, claimed = case.witnesses(broken), int(case.claimed.sum())
        figures: dict[str, Any] = {
            "step": round(step, 4),
            "ratio": self.ratio,
            "outside": round(outside, 4),
            "corrected_ce": int(counts["ce"].sum()),
            "corrected_margin_more": int(counts["margin"].sum()),
        }
        faults = []
        if step < self.ratio:
            faults.append(f"takes steps of {step:.1%} of their nominal length (median)")
        if outside:
            faults.append(f"leaves [0,1] on {outside:.0%} of the images")
        said = " and ".join(faults) or "takes steps of their nominal length"
        corrected = f"corrected PGD breaks {len(witnesses)} of the {claimed} images it left"
        message = f"The released procedure {said}; {corrected}."
        if not faults and not witnesses:
            return self.silent(message, **figures)
        grade: Grade = "heuristic"
        if witnesses:
            grade = "mechanism" if step < self.ratio else "witness"
        return self.fires(grade, message, witnesses=witnesses, **figures)

    def _corrected(self, attack: PGDAsReleased, case: Case, loss: Loss) -> PGD:
        steps = min(attack.steps, self.quick_steps) if case.budget == "quick" else attack.steps
        reaches = steps * attack.step >= case.threat.epsilon
        return PGD(steps=steps, step=attack.step if reaches else None, loss=loss)
