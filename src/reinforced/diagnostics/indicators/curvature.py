"""Second derivative of the loss along its own gradient."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import Loss, attack_loss
from reinforced.attacks.pgd import direction, probe
from reinforced.attacks.seal import Meter
from reinforced.diagnostics.indicators.base import BATCH, Indicator, per_image, precise, undefined
from reinforced.regularisers.base import twice_differentiable

Method = Literal["auto", "double_backward", "difference"]


def curvature(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    loss: Loss = "ce",
    method: Method = "auto",
    step: float = 0.01,
    batch: int = BATCH,
) -> Indicator:
    """``v . H v`` (N,) with H the loss's Hessian at the image and v the unit L2 vector along its gradient.

    A ReLU network is piecewise linear: its Hessian is that of the softmax inside one linear region, and
    zero for ``margin``; the kinks between regions show only in a difference over some length.

    Args:
        model, images, labels, batch: see :func:`~reinforced.diagnostics.indicators.base.per_image`.
        loss: one of attacks/losses.py.
        method: ``double_backward`` for an exact Hessian-vector product; ``difference`` for the central
            difference of gradients at ``x +- step * v``; ``auto`` takes the first where the model can be
            differentiated twice. ``note`` says which it was.
        step: L2 length, pixels of [0,1]; the points may leave [0,1].

    Returns:
        Not-a-number where the gradient is zero.
    """
    if method == "auto":
        try:
            return curvature(model, images, labels, loss=loss, method="double_backward", batch=batch)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            return curvature(model, images, labels, loss=loss, method="difference", step=step, batch=batch)

    def exact(meter: Meter, x: Tensor, y: Tensor) -> Tensor:
        x = x.detach().requires_grad_()
        with twice_differentiable():
            total = attack_loss(loss, meter(x), y).sum()
            (gradient,) = torch.autograd.grad(total, x, create_graph=True)
        v = direction(gradient.detach(), "l2")
        # Raises where torch sees no way from the gradient back to x: either there is none (a linear
        # model's margin), or an operation hides it. A difference of gradients knows which.
        (product,) = torch.autograd.grad(gradient, x, v)
        return _along(v, product)

    def difference(meter: Meter, x: Tensor, y: Tensor) -> Tensor:
        v = direction(probe(meter, x, y, loss).gradient, "l2")
        ahead, behind = (probe(meter, x + side * step * v, y, loss).gradient for side in (1, -1))
        return _along(v, precise(ahead) - precise(behind)) / (2 * step)

    values, forwards, gradients = per_image(
        model, images, labels, exact if method == "double_backward" else difference, batch=batch
    )
    note = "double backward" if method == "double_backward" else f"central difference over {2 * step:g}"
    return Indicator(f"curvature({loss})", "loss / pixel^2", values, ("image",), forwards, gradients, note)


def _along(v: Tensor, product: Tensor) -> Tensor:
    values = (precise(v) * precise(product)).sum(dim=(1, 2, 3))
    return undefined(values, ~v.flatten(1).any(dim=1))
