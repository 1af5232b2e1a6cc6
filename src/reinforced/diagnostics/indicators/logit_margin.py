"""How far the label's logit leads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import margin
from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, Indicator, per_image, precise


def logit_margin(model: nn.Module, images: Tensor, labels: Tensor, *, batch: int = BATCH) -> Indicator:
    """``z_y - max_{j != y} z_j`` (N,): positive where the image is classified rightly.

    float32's cross-entropy gradient loses its digits from a lead of about 16 and is zero at 104.
    """

    def work(meter: Meter, x: Tensor, y: Tensor) -> Tensor:
        with torch.no_grad():
            return -margin(precise(meter(x)), y.to(precise(x).device))

    values, forwards, gradients = per_image(model, images, labels, work, batch=batch)
    return Indicator("logit_margin", "logits", values, ("image",), forwards, gradients)
