"""Length of the loss's gradient at the image."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import probe
from reinforced.attacks.pgd_as_released import BATCH as RELEASED_BATCH
from reinforced.attacks.pgd_as_released import FLOOR
from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, Indicator, lengths, per_image, precise


def gradient_norm(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss = "ce",
    norm: Literal["l2", "l1"] = "l2",
    batch: int = BATCH,
) -> Indicator:
    """``|d loss(x_i) / d x_i|`` (N,): the static indicator of Zou et al. 2026.

    Of each image's own loss, not of the batch's mean. ``zeros`` in the summary is gradient that is not
    there at all: with ``ce`` and confident logits often float32's doing, which ``margin`` does not suffer.

    Args:
        model, images, labels, batch: see :func:`~reinforced.diagnostics.indicators.base.per_image`.
        loss: one of attacks/losses.py.
        norm: ``l1`` is the rise of the loss, to first order, a unit of L-inf radius.

    Raises:
        ReinforcedError: the logits carry no gradient to the images.
    """

    def work(meter: Meter, x: Tensor, y: Tensor) -> Tensor:
        gradient = probe(meter, x, y, loss).gradient
        return lengths(gradient) if norm == "l2" else precise(gradient).abs().sum(dim=(1, 2, 3))

    values, forwards, gradients = per_image(model, images, labels, work, batch=batch)
    name = f"gradient_norm({loss})" if norm == "l2" else f"gradient_norm({loss},{norm})"
    floored = float((values / RELEASED_BATCH < FLOOR).double().mean())
    own = {"floored": floored} if name == "gradient_norm(ce)" else {}
    return Indicator(name, "loss / pixel", values, ("image",), forwards, gradients, figures=own)
