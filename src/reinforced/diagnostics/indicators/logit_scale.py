"""How large the logits are."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, Indicator, per_image, precise


def logit_scale(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = BATCH) -> Indicator:
    """``max_j z_j - mean_j z_j`` (N,): the top logit above the mean, since softmax sees no common shift."""

    def work(meter: Meter, x: Tensor, _: Tensor) -> Tensor:
        with torch.no_grad():
            z = precise(meter(x))
        return z.amax(dim=1) - z.mean(dim=1)

    values, forwards, gradients = per_image(model, images, labels, work, batch=batch)
    return Indicator("logit_scale", "logits", values, ("image",), forwards, gradients)
