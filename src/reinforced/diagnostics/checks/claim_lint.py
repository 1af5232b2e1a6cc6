"""Can the claim be what it says: can its attack reach, is its figure this one, is its ball too large?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.apgd import APGD
from reinforced.attacks.autoattack import AutoAttack
from reinforced.attacks.base import AttackOutput, Batch
from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, counted
from reinforced.diagnostics.findings import GRADES, Finding, Grade
from reinforced.diagnostics.statistics import Share
from reinforced.streams import Stream


@dataclass(frozen=True)
class Grey:
    """Proposes the point of the ball that is nearest to plain grey."""

    name: str = "grey"
    norms: Collection[Norm] = NORMS

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:  # noqa: ARG002
        """Grey, which the runner projects."""
        return AttackOutput(torch.full_like(batch.images, 0.5))


@dataclass
class _Seen:
    broken: Tensor
    said: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    grade: Grade = "heuristic"

    def wrong(self, message: str, broken: Tensor | None = None, *, grade: Grade = "heuristic") -> None:
        """Note a fault and what the attack that answers it broke."""
        self.said.append(message)
        if broken is not None:
            self.broken |= broken
            # Nothing broken: the answer is that the fault did no harm.
            grade = grade if broken.any() else "heuristic"
        self.grade = min(self.grade, grade, key=GRADES.index)


class ClaimLint(Check):
    """Four questions to the claim itself, each with the attack that answers it.

    1. Steps times step must reach epsilon (Carlini et al. 2019, section 4): if not, PGD with steps that do
       attacks the claimed images. 2. The stated accuracy must lie in the 95 % interval of what the attack
       leaves here. 3. An ensemble must not leave what its member (AutoAttack: APGD) breaks alone. 4. Where
       ``grey`` of the claimed images have plain grey in their ball, all of them share one image, which can
       have but one label: it is tried. Cost: nothing, or 1 pass for grey, 2 a step for PGD (at most 100),
       200 for the member, on survivors. Thresholds: exact ones, but for ``grey``, half. False positives:
       a step that cannot reach may still suffice from a random start; then the answer breaks nothing and
       this is a hint alone. docs/checks/claim_lint.md.
    """

    name: ClassVar[str] = "claim_lint"

    steps: int = setting(20, "of the corrected attack, at least", ge=1)
    most_steps: int = setting(100, "of the corrected attack, at most", ge=1)
    grey: float = setting(0.5, "of the claimed images, with grey in their ball: too large", gt=0, le=1)

    def measure(self, case: Case) -> Finding:
        """Ask, and run what answers."""
        seen = _Seen(torch.zeros_like(case.claimed))
        self._stated(case, seen)
        if case.claimed.any():
            self._reaches(case, seen)
            self._members(case, seen)
            self._fits(case, seen)
        if not seen.said:
            return self.silent(
                "Nothing in the claim contradicts itself or what was measured.", **seen.figures
            )
        witnesses = case.witnesses(seen.broken)
        remedies = ("attack_lint", "loss_saturation", "one_step") if seen.grade == "mechanism" else ()
        return self.fires(
            seen.grade, " ".join(seen.said), witnesses=witnesses, remedies=remedies, **seen.figures
        )

    def _stated(self, case: Case, seen: _Seen) -> None:
        if case.claim.accuracy is None:
            return
        here = Share(int(case.claimed.sum()), len(case.claimed))
        low, high = here.interval
        seen.figures |= {"stated": case.claim.accuracy, "here": here.value}
        if not low <= case.claim.accuracy <= high:
            seen.wrong(f"{100 * case.claim.accuracy:.1f} % was stated; the same attack leaves {here} here.")

    def _reaches(self, case: Case, seen: _Seen) -> None:
        attack = parse_attack(case.claim.attack)
        if not isinstance(attack, FGSM | PGD | MIFGSM | PGDAsReleased) or attack.step is None:
            return
        steps = 1 if isinstance(attack, FGSM) else attack.steps
        reach, epsilon = steps * attack.step, case.threat.epsilon
        seen.figures |= {"reach": reach, "epsilon": epsilon}
        if reach >= epsilon * (1 - 1e-9):
            return
        said = f"{counted(steps, 'step')} of {attack.step:g} cannot reach epsilon {epsilon:g}"
        if case.blocks("gradients"):
            seen.wrong(f"{said}, and an attack that could needs gradients.", grade="mechanism")
            return
        count = min(max(steps, self.steps), self.most_steps)
        loss = "ce" if isinstance(attack, PGDAsReleased) else attack.loss
        broken = case.attack(PGD(steps=count, loss=loss).suited(case.draws), on=case.claimed).broken
        seen.wrong(
            f"{said}; PGD whose steps can breaks {int(broken.sum())} of the images left.",
            broken,
            grade="mechanism",
        )

    def _members(self, case: Case, seen: _Seen) -> None:
        attack = parse_attack(case.claim.attack)
        if not isinstance(attack, AutoAttack) or case.blocks("gradients") or case.checked.randomised:
            return
        broken = case.attack(APGD(), on=case.claimed).broken
        seen.figures["member_breaks"] = int(broken.sum())
        if broken.any():
            said = f"APGD, a part of AutoAttack, breaks {counted(int(broken.sum()), 'image')} that it left."
            seen.wrong(said, broken, grade="witness")

    def _fits(self, case: Case, seen: _Seen) -> None:
        images = case.images[case.claimed]
        inside = case.threat.distance(torch.full_like(images, 0.5), images) <= case.threat.epsilon
        share = float(inside.float().mean())
        seen.figures["grey_inside"] = round(share, 4)
        if share < self.grey:
            return
        broken = case.attack(Grey(), on=case.claimed).broken
        said = f"Plain grey is in the ball of {share:.0%} of the images: no classifier can be robust there"
        seen.wrong(f"{said}; it breaks {int(broken.sum())} of the images left.", broken, grade="mechanism")
