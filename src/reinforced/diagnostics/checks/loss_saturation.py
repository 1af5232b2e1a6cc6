"""The same attack on other losses: does cross-entropy go blind?"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, Batch
from reinforced.attacks.losses import CLASSES_NEEDED, Loss
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.gradients import Widened, doubled, input_gradients, turned
from reinforced.diagnostics.statistics import Gain
from reinforced.streams import Stream

LOSSES: tuple[Loss, ...] = ("margin", "dlr", "gap")
NAMES = {
    "ce": "cross-entropy",
    "ce_float64": "cross-entropy in float64",
    "margin": "the margin",
    "dlr": "DLR",
    "gap": "the gap-rescaled cross-entropy",
}


@dataclass(frozen=True)
class Alike:
    """A PGD that starts where its siblings with another loss start."""

    attack: PGD
    name: str = "loss_saturation"
    norms: Collection[Norm] = NORMS

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """The PGD's own."""
        return self.attack.candidates(model, batch, threat, stream)


class LossSaturation(Check):
    """PGD from the same starts on cross-entropy in float32 and float64, margin, DLR and gap-rescaled CE.

    A confident model's cross-entropy rounds to zero in float32, from a margin of about 17 on (Carlini and
    Wagner 2017). All that is broken of the claimed images is a witness; a mechanism where the best other
    loss breaks more than cross-entropy, by McNemar's exact test (5 %, Bonferroni over the losses) and by
    ``excess`` of the images, and the float32 gradient is lost on ``lost`` of them. Cost: 10 passes a step on
    images that survive, 20 steps in the quick budget. Thresholds: margin losses break 2 to 3 points more of
    soundly trained models (Croce and Hein 2020), so 5; calibration in docs/checks/loss_saturation.md. False
    positives: none in witnesses, all are re-verified.
    """

    name: ClassVar[str] = "loss_saturation"

    steps: int = setting(50, "gradient steps", ge=1)
    quick_steps: int = setting(20, "gradient steps in the quick budget", ge=1)
    excess: float = setting(0.05, "of the images, broken beyond cross-entropy: a mechanism", ge=0)
    lost: float = setting(0.1, "of the images, whose gradient is lost: a mechanism", ge=0, le=1)
    aligned: float = setting(0.9, "cosine to the float64 gradient below which a gradient is lost", le=1)
    looked_at: int = setting(128, "images whose float32 and float64 gradients are compared", ge=1)

    def measure(self, case: Case) -> Finding:
        """Attack the claimed images on every loss."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        steps = self.quick_steps if case.budget == "quick" else self.steps
        broken = {"ce": case.attack(Alike(PGD(steps=steps).suited(case.draws)), on=case.claimed).broken}
        twin = None if case.checked.randomised else doubled(case)
        if twin is not None:
            # Gradients are attacked in float64, examples verified on the model as it is.
            pgd = Alike(PGD(steps=steps))
            broken["ce_float64"] = case.attack(pgd, on=case.claimed, stand_in=Widened(twin)).broken
        for loss in LOSSES:
            if CLASSES_NEEDED[loss] <= case.checked.classes:
                pgd = Alike(PGD(steps=steps, loss=loss).suited(case.draws))
                broken[loss] = case.attack(pgd, on=case.claimed).broken
        lost = self._lost(case, twin)
        figures = {name: int(rows.sum()) for name, rows in broken.items()}
        every = torch.stack(list(broken.values())).any(dim=0)
        best = max(broken, key=lambda name: figures[name])
        gain = _gain(broken[best], broken["ce"])
        p = min(1.0, gain.p * (len(broken) - 1))
        missed = int((every & ~broken["ce"]).sum())
        counted: dict[str, Any] = {
            **figures,
            "missed": missed,
            "lost": round(lost, 4),
            "p": p,
            "excess": self.excess,
        }
        claimed = f"the {int(case.claimed.sum())} images left"
        if not every.any():
            return self.silent(f"PGD breaks none of {claimed}, on whichever loss.", **counted)
        witnesses = case.witnesses(every)
        if p < 0.05 and gain.value >= self.excess and lost >= self.lost:
            message = (
                f"PGD on {NAMES[best]} breaks {figures[best]} of {claimed}, from the same starts on "
                f"cross-entropy {figures['ce']}, whose float32 gradient is lost on {lost:.0%} of them."
            )
            return self.fires("mechanism", message, witnesses=witnesses, **counted)
        message = (
            f"PGD on {len(broken)} losses breaks {len(witnesses)} of {claimed}, {missed} of them not on "
            "cross-entropy."
        )
        return self.fires("witness", message, witnesses=witnesses, **counted)

    def _lost(self, case: Case, twin: nn.Module | None) -> float:
        """Share of images whose float32 cross-entropy gradient is zero or turned away from float64's."""
        chosen = case.among(case.claimed, self.looked_at)
        images, labels = case.images[chosen], case.labels[chosen]
        if not len(labels):
            return 0.0
        ours = input_gradients(case, images, labels, "ce")
        if twin is None:
            return float((ours == 0).flatten(1).all(dim=1).float().mean())
        exact = input_gradients(case, images, labels, "ce", Widened(twin))
        return float((turned(ours, exact) < self.aligned).float().mean())


def _gain(ours: Tensor, theirs: Tensor) -> Gain:
    return Gain(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours))
