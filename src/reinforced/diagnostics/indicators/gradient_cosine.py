"""How alike the gradients of neighbouring points are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import probe, random_start
from reinforced.attacks.seal import Meter
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import BATCH, Indicator, directions, per_image, undefined
from reinforced.streams import Stream


def gradient_cosine(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    loss: Loss = "ce",
    neighbours: int = 2,
    seed: int = 0,
    batch: int = BATCH,
) -> Indicator:
    """Mean cosine (N,) of the gradient at x with those at ``neighbours`` uniform draws from its ball.

    This is what GradAlign penalises (Andriushchenko & Flammarion 2020), there with draws that leave
    [0,1]. Not-a-number where a gradient is zero.

    Args:
        model, images, labels, batch: see :func:`~reinforced.diagnostics.indicators.base.per_image`.
        threat: the ball.
        loss: one of attacks/losses.py.
        neighbours: draws an image.
        seed: of the draws, which do not depend on ``batch``.
    """
    stream = Stream(seed, "indicators/gradient_cosine")
    draws = [random_start(images.cpu(), threat, stream) for _ in range(neighbours)]

    def work(meter: Meter, x: Tensor, y: Tensor, *near: Tensor) -> Tensor:
        here = directions(probe(meter, x, y, loss).gradient)
        cosines = []
        for point in near:
            there = directions(probe(meter, point, y, loss).gradient)
            zero = ~(here.any(dim=1) & there.any(dim=1))
            cosines.append(undefined((here * there).sum(dim=1), zero))
        return torch.stack(cosines).mean(dim=0)

    values, forwards, gradients = per_image(model, images, labels, work, more=draws, batch=batch, seed=seed)
    return Indicator(f"gradient_cosine({loss})", "", values, ("image",), forwards, gradients)
