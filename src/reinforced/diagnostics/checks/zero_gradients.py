"""Gradients that are exactly zero, or no numbers: nothing that an attack could follow."""

from __future__ import annotations

from typing import Any, ClassVar

from reinforced.attacks.losses import CLASSES_NEEDED, Loss
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, listed
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.gradients import input_gradients

LOSSES: tuple[Loss, ...] = ("ce", "margin", "dlr")
NAMES: dict[Loss, str] = {"ce": "cross-entropy", "margin": "the margin", "dlr": "DLR"}


class ZeroGradients(Check):
    """Share of claimed images whose float32 input gradient is zero, or not finite, in every pixel.

    At the image itself, under cross-entropy, margin and DLR. A mechanism where no loss has a gradient for
    more than ``share`` of the images (all need another attack), a hint where only some lose it (attacks with
    another loss tell: loss_saturation). Cost: 6 passes an image. Threshold: 5 %, the loss that a genuine
    claim may bear (verdict.py); calibration in docs/checks/zero_gradients.md. False positives: a model
    that is truly constant around an image (a certified one, say) is flat without hiding anything.
    """

    name: ClassVar[str] = "zero_gradients"

    share: float = setting(0.05, "of the claimed images, above which it fires", ge=0, lt=1)

    def measure(self, case: Case) -> Finding:
        """Differentiate each loss at each claimed image."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        if not case.claimed.any():
            return self.silent("The claimed attack leaves no image.")
        images, labels = case.images[case.claimed], case.labels[case.claimed]
        shares: dict[Loss, float] = {}
        for loss in LOSSES:
            if CLASSES_NEEDED[loss] <= case.checked.classes:
                gradients = input_gradients(case, images, labels, loss).flatten(1)
                dead = (gradients == 0).all(dim=1) | ~gradients.isfinite().all(dim=1)
                shares[loss] = float(dead.float().mean())
        figures: dict[str, Any] = {f"zero_{loss}": round(value, 4) for loss, value in shares.items()}
        worst, best = max(shares.values(), default=0.0), min(shares.values(), default=0.0)
        said = listed(
            [f"{f'{value:.1%}' if value else 'none'} under {NAMES[loss]}" for loss, value in shares.items()]
        )
        message = f"Of the images left, the input gradient is zero or not finite on {said}."
        if worst <= self.share:
            return self.silent(message, share=self.share, **figures)
        if best > self.share:
            remedies = ("loss_saturation", "bpda", "random_search", "black_box")
            return self.fires("mechanism", message, remedies=remedies, share=self.share, **figures)
        return self.fires("heuristic", message, remedies=("loss_saturation",), share=self.share, **figures)
