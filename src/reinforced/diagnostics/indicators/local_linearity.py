"""How far the loss departs from its tangent plane within the ball."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import Loss, attack_loss
from reinforced.attacks.pgd import direction, probe, random_start
from reinforced.attacks.seal import Meter
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import BATCH, Indicator, per_image, precise
from reinforced.streams import Stream


def local_linearity(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    loss: Loss = "ce",
    steps: int = 10,
    seed: int = 0,
    batch: int = BATCH,
) -> Indicator:
    """``max |loss(x + d) - loss(x) - d . grad loss(x)|`` over the ball (N,), as far as ascent finds it.

    The local linearity measure of Qin et al. 2019 (arXiv 1907.02610, equation 5); there too it is sought by
    projected ascent. The largest value met counts, so it is a lower bound.

    Args:
        model, images, labels, batch: see :func:`~reinforced.diagnostics.indicators.base.per_image`.
        threat: the ball; points stay in [0,1] as well.
        loss: one of attacks/losses.py.
        steps: of the ascent, each 2.5 * epsilon / steps long, from a uniform draw.
        seed: of the draws, which do not depend on ``batch``.
    """
    starts = random_start(images.cpu(), threat, Stream(seed, "indicators/local_linearity"))
    length = 2.5 * threat.epsilon / steps

    def work(meter: Meter, x: Tensor, y: Tensor, start: Tensor) -> Tensor:
        base = probe(meter, x, y, loss)
        tangent = precise(base.gradient)

        def departure(point: Tensor, value: Tensor) -> Tensor:
            rise = (precise(point - x) * tangent).sum(dim=(1, 2, 3))
            return precise(value) - precise(base.loss) - rise

        point, largest = start, torch.zeros_like(precise(base.loss))
        for _ in range(steps):
            seen = probe(meter, point, y, loss)
            error = departure(point, seen.loss)
            largest = torch.maximum(largest, error.abs())
            sign = torch.where(error < 0, -1.0, 1.0).to(point)[:, None, None, None]
            ahead = sign * (seen.gradient - base.gradient)
            point = threat.project(point + length * direction(ahead, threat.norm), x)
        with torch.no_grad():
            final = attack_loss(loss, meter(point), y)
        return torch.maximum(largest, departure(point, final).abs())

    values, forwards, gradients = per_image(
        model, images, labels, work, more=[starts], batch=batch, seed=seed
    )
    return Indicator(f"local_linearity({loss})", "loss", values, ("image",), forwards, gradients)
