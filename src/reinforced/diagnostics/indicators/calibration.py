"""Expected calibration error: how far confidence is from accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, per_image, precise

BINS = 15
"""As in Guo et al. 2017."""


@dataclass(frozen=True)
class Bin:
    """Images whose confidence lies in ``(low, high]``; ``confidence`` and ``accuracy`` are their means."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration:
    """``error`` is the mean over images of their bin's ``|accuracy - confidence|``; ``worst`` the largest."""

    error: float
    worst: float
    bins: tuple[Bin, ...]
    forwards: int


def calibration(
    model: nn.Module, images: Tensor, labels: Tensor, *, bins: int = BINS, batch: int = BATCH
) -> Calibration:
    """Expected and largest calibration error in equal bins (Guo et al. 2017, arXiv 1706.04599, eq. 3, 5).

    Few images bias it upwards: with n images a bin, chance alone gives about ``sqrt(p (1 - p) / n)``.

    Args:
        model, images, labels, batch: see :func:`~reinforced.diagnostics.indicators.base.per_image`.
        bins: how many, over confidences from 0 to 1.
    """

    def work(meter: Meter, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            z = meter(x)
        confidence = torch.softmax(precise(z), dim=1).amax(dim=1)
        return torch.stack([confidence, precise(z.argmax(dim=1) == y)])

    (confidence, right), forwards, _ = per_image(model, images, labels, work, batch=batch)
    return tabulate(confidence, right, bins=bins, forwards=forwards)


def tabulate(confidence: Tensor, right: Tensor, *, bins: int = BINS, forwards: int = 0) -> Calibration:
    """Confidences (N,) and outcomes (N,), 1 for right, to the calibration error."""
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    at = torch.bucketize(confidence.double(), edges[1:-1])
    rows, error, worst = [], 0.0, 0.0
    for number in range(bins):
        inside = at == number
        low, high, count = float(edges[number]), float(edges[number + 1]), int(inside.sum())
        if count == 0:
            rows.append(Bin(low, high, 0, None, None))
            continue
        sure, accuracy = float(confidence[inside].mean()), float(right[inside].double().mean())
        rows.append(Bin(low, high, count, sure, accuracy))
        error += abs(sure - accuracy) * count / len(confidence)
        worst = max(worst, abs(sure - accuracy))
    return Calibration(error, worst, tuple(rows), forwards)
