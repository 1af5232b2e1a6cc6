"""Input gradients and float64 copies: what checks look at outside any attack."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.base import CHUNK, chunk_size
from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import probe
from reinforced.attacks.seal import device_of, sealed, seed_global
from reinforced.diagnostics.case import Case

AGREEING = 0.9
"""Share of predictions that a float64 copy must share with the model to pass for the same function."""


def input_gradients(
    case: Case, images: Tensor, labels: Tensor, loss: Loss, model: nn.Module | None = None
) -> Tensor:
    """Of each image's own loss, (N, C, H, W) on the CPU; adds two passes an image to the case.

    Args:
        case: whose model, unless another ``model`` is given.
        images, labels: (N, C, H, W) and (N,), where the gradient is taken.
        loss: what is differentiated.
        model: another than the case's.

    Raises:
        ReinforcedError: the logits carry no gradient to the images, or are too few for ``loss``.
    """
    asked = case.model if model is None else model
    device = device_of(asked)
    found = torch.zeros_like(images)
    with sealed(asked, device) as meter, torch.enable_grad():
        seed_global(case.seed, device)
        size = chunk_size(None, images, device)
        for start in range(0, len(images), size):
            rows = slice(start, start + size)
            found[rows] = probe(meter, images[rows].to(device), labels[rows].to(device), loss).gradient.cpu()
        case.passes += meter.forwards + meter.gradients
    return found


def turned(one: Tensor, other: Tensor) -> Tensor:
    """Cosines (N,) of gradients (N, C, H, W), 0 where either is zero or not finite."""
    one, other = _scaled(one), _scaled(other)
    return torch.cosine_similarity(one.flatten(1), other.flatten(1)).nan_to_num(0)


def doubled(case: Case) -> nn.Module | None:
    """A float64 copy of the model, or nothing where that is no copy: its code fixes types, say."""
    images = case.images[:CHUNK]
    try:
        twin = copy.deepcopy(case.model).double().eval()
        with sealed(case.model, device_of(case.model)) as meter, torch.no_grad():
            there = images.to(device_of(case.model))
            case.passes += 2 * len(there)
            logits, expected = twin(there.double()), meter(there)
        agree = (logits.argmax(dim=1) == expected.argmax(dim=1)).float().mean()
    except Exception:  # whatever foreign code raises, there is no copy
        return None
    return twin if logits.dtype == torch.float64 and float(agree) >= AGREEING else None


class Widened(nn.Module):
    """A float64 model for float32 images, whose input gradients come back as directions.

    Each image's gradient is divided by its largest entry in float64, since as float32 it might be zero.
    """

    def __init__(self, twin: nn.Module) -> None:
        super().__init__()
        self.twin = twin

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) float32 to (N, K) float64."""
        logits: Tensor = self.twin(_Widen.apply(images))
        return logits


class _Widen(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:  # noqa: ARG004
        return images.double()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:  # noqa: ARG004
        return _scaled(grads[0]).float()


def _scaled(gradient: Tensor) -> Tensor:
    # Squares of a confident model's gradients underflow.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    return (gradient / torch.where(largest > 0, largest, torch.inf)).nan_to_num(0)
