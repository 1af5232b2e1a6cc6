"""Predictive entropy, before and after the attack, where the prediction is right and where it is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, per_image, precise, summarise


@dataclass(frozen=True)
class EntropyTable:
    """Entropies of the predictions.

    Attributes:
        bits: (2, N) float64, row 0 of the clean images, row 1 of the adversarial ones.
        right: (2, N) bool, whether the prediction is the label.
        forwards: passes, in images.
    """

    bits: Tensor
    right: Tensor
    forwards: int

    def rows(self) -> list[dict[str, str | float | int | None]]:
        """Clean and adversarial by right and wrong: ``count``, ``mean``, quantiles; ``None`` for no image."""
        return [
            {"images": images, "prediction": said, **summarise(bits[right == (said == "right")])}
            for images, bits, right in zip(("clean", "adversarial"), self.bits, self.right, strict=True)
            for said in ("right", "wrong")
        ]


def entropy_table(
    model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor, *, batch: int = BATCH
) -> EntropyTable:
    """``-sum_j p_j log2 p_j`` of clean and adversarial images, as Zou et al. 2026 tabulate it.

    Args:
        model, images, labels, batch: see :func:`~reinforced.diagnostics.indicators.base.per_image`.
        adversarial: (N, C, H, W), the same images after an attack that did not stop at the boundary, where
            entropy is largest; ``along_path`` gives such.
    """

    def work(meter: Meter, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            z = meter(x)
        right = z.argmax(dim=1) == y
        pi = torch.softmax(precise(z), dim=1)
        return torch.stack([torch.special.entr(pi).sum(dim=1) / math.log(2), precise(right)])

    clean, before, _ = per_image(model, images, labels, work, batch=batch)
    attacked, after, _ = per_image(model, adversarial, labels, work, batch=batch)
    both = torch.stack([clean, attacked])
    return EntropyTable(both[:, 0], both[:, 1].bool(), before + after)
