"""How near the softmax is to certainty."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, Indicator, per_image, precise

FLOAT32_NINES = 25 * math.log10(2)
"""From here on float32 rounds the largest probability to 1: half the spacing of numbers just below 1."""


def saturation(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = BATCH) -> Indicator:
    """``-log10(1 - max_j p_j)`` (N,): the nines of the prediction's probability, 3 for .999.

    Computed from the logits in float64, so that it has no ceiling. The figure ``certain_in_float32`` is the
    share of images whose largest probability float32 cannot tell from 1.
    """

    def work(meter: Meter, x: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            z = precise(meter(x))
        others = z.scatter(1, z.argmax(dim=1, keepdim=True), -torch.inf)
        return (z.logsumexp(dim=1) - others.logsumexp(dim=1)) / math.log(10)

    values, forwards, gradients = per_image(model, images, labels, work, batch=batch)
    certain = float((values > FLOAT32_NINES).double().mean())
    return Indicator(
        "saturation",
        "nines",
        values,
        ("image",),
        forwards,
        gradients,
        figures={"certain_in_float32": certain},
    )
