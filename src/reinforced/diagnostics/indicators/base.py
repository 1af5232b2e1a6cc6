"""What an indicator gives back, and how a quantity is measured image by image, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from reinforced.attacks.checks import check_inputs, check_logits
from reinforced.attacks.seal import Meter, device_of, sealed, seed_global
from reinforced.errors import ReinforcedError

BATCH = 128
"""Images at a time. Of memory and speed only: no indicator depends on it beyond rounding."""
QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}
SUMMARY = ("count", "mean", *QUANTILES, "zeros")
"""Figures of every indicator."""


@dataclass(frozen=True)
class Indicator:
    """One quantity of a model on some images.

    Attributes:
        name: with its loss, where it has one: ``"gradient_norm(ce)"``.
        unit: of the values; pixels are of [0,1], logarithms natural unless it says bits.
        values: float64 on the CPU; not-a-number where the quantity is undefined.
        axes: of the values: ``("image",)``, ``("step", "image")`` or ``("step",)``.
        forwards, gradients: passes spent, in images; the indicators of one path share theirs.
        note: how it was measured, where there is more than one way.
        figures: single figures beside the values.
    """

    name: str
    unit: str
    values: Tensor
    axes: tuple[str, ...]
    forwards: int
    gradients: int
    note: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, float | int | None]:
        """Of all defined values: ``mean``, ``q05`` to ``q95``, share of ``zeros``; and how many they are.

        ``None`` where there are none.
        """
        return {**summarise(self.values), **self.figures}


def summarise(values: Tensor) -> dict[str, float | int | None]:
    """``count`` of values that are numbers, their ``mean``, quantiles and share of ``zeros``."""
    known = values[~values.isnan()]
    if len(known) == 0:
        return {"count": 0, "mean": None, **dict.fromkeys(QUANTILES), "zeros": None}
    quantiles = torch.quantile(known, torch.tensor([*QUANTILES.values()], dtype=known.dtype)).tolist()
    zeros = float((known == 0).double().mean())
    return {
        "count": len(known),
        "mean": float(known.mean()),
        **dict(zip(QUANTILES, quantiles, strict=True)),
        "zeros": zeros,
    }


@contextmanager
def lent(model: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0) -> Iterator[Meter]:
    """``model`` sealed, in eval mode, with gradients on and its global stream seeded; counts passes.

    Args:
        model: [0,1] images (N, C, H, W) -> logits (N, K), in any mode; afterwards as it was.
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64 in [0, K).
        seed: for models that draw random numbers themselves.

    Raises:
        ReinforcedError: images, labels or logits of another form or range.
    """
    check_inputs(images, labels)
    device = device_of(model)
    with sealed(model, device) as meter, torch.enable_grad():
        seed_global(seed, device)
        with torch.no_grad():
            # One image's logits show their form; all labels must be below their number.
            largest = labels.argmax(keepdim=True)
            check_logits(meter.model(images[largest].to(device)), labels[largest].to(device))
        yield meter


def per_image(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    work: Callable[..., Tensor],
    *,
    more: Sequence[Tensor] = (),
    batch: int = BATCH,
    seed: int = 0,
) -> tuple[Tensor, int, int]:
    """``work(meter, images, labels, *more)`` batch by batch, its results (..., B) joined to (..., N).

    Args:
        model, images, labels, seed: see :func:`lent`.
        work: called with tensors on the model's device.
        more: further tensors with a row an image.
        batch: images at a time.

    Returns:
        Results, float64 on the CPU, with the forward passes and gradients spent, in images.
    """
    found = []
    with lent(model, images, labels, seed=seed) as meter:
        device = device_of(model)
        for rows in batches(len(images), batch):
            part = [tensor[rows].to(device) for tensor in (images, labels, *more)]
            found.append(precise(work(meter, *part)).cpu())
    return torch.cat(found, dim=-1), meter.forwards, meter.gradients


def batches(count: int, batch: int) -> Iterator[slice]:
    """Slices that cover ``range(count)``."""
    if batch < 1:
        raise ReinforcedError(f"batch {batch}: at least 1 image at a time")
    for start in range(0, count, batch):
        yield slice(start, min(start + batch, count))


def precise(values: Tensor) -> Tensor:
    """``values`` in float64, where squares of float32's smallest numbers still are numbers."""
    # Apple's GPUs have no float64.
    values = values.detach()
    return (values.cpu() if values.device.type == "mps" else values).double()


def lengths(gradients: Tensor) -> Tensor:
    """L2 norm of each image's gradient, (N, C, H, W) -> (N,) float64, largest entry first."""
    flat = precise(gradients).flatten(1)
    largest = flat.abs().amax(dim=1)
    scaled = flat / torch.where(largest > 0, largest, 1.0)[:, None]
    length: Tensor = largest * torch.linalg.vector_norm(scaled, dim=1)
    return length


def directions(gradients: Tensor) -> Tensor:
    """Unit vectors (N, D) float64 along gradients (N, C, H, W); zero where the gradient is zero."""
    length = lengths(gradients)
    return precise(gradients).flatten(1) / torch.where(length > 0, length, torch.inf)[:, None]


def undefined(values: Tensor, where: Tensor) -> Tensor:
    """``values`` with not-a-number ``where`` they mean nothing."""
    return torch.where(where, torch.nan, values)
