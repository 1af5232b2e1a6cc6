"""Logits at the cells of a plane, in batches of the size and layout that this processor likes best."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reinforced.allocator import keep_freed_memory
from reinforced.attacks.losses import Loss, attack_loss
from reinforced.attacks.seal import Meter, device_of
from reinforced.diagnostics.indicators.base import batches
from reinforced.diagnostics.indicators.plane import Plane

CPU_BATCH = 64
"""Points at a time on a CPU, where more gains nothing (benchmarks/landscape.py)."""
GPU_BATCH = 1024


class Cells:
    """Points of a plane, seen by a sealed model.

    Args:
        meter: the sealed model.
        plane: where the points lie.
        batch: points at a time; none for :data:`CPU_BATCH` or :data:`GPU_BATCH`.
        clip: move points into [0,1].
    """

    def __init__(self, meter: Meter, plane: Plane, *, batch: int | None = None, clip: bool = False) -> None:
        device = device_of(meter)
        self.meter = meter
        self.plane = plane.to(device)
        self.clip = clip
        self.batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
        if device.type == "cpu":
            keep_freed_memory()  # a fifth of the time went into page faults
        # On a CPU, pooling and convolutions run up to twice as fast on channels_last images.
        self.layout = torch.contiguous_format
        if device.type == "cpu" and self._same_in(torch.channels_last):
            self.layout = torch.channels_last

    def __call__(self, a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Coordinates (M,), (M,) in epsilons to logits (B, K), float64 on the CPU, slice by slice."""
        with torch.no_grad():
            for rows in batches(len(a), self.batch):
                yield rows, self.meter(self._points(a[rows], b[rows], self.layout)).cpu().double()

    def all(self, a: Tensor, b: Tensor) -> Tensor:
        """The same at once: (M, K)."""
        return torch.cat([logits for _, logits in self(a, b)])

    def _points(self, a: Tensor, b: Tensor, layout: torch.memory_format) -> Tensor:
        return self.plane.points(a, b, clip=self.clip).contiguous(memory_format=layout)

    def _same_in(self, layout: torch.memory_format) -> bool:
        corners = torch.tensor([-1.0, 1.0])
        with torch.no_grad():
            one = self.meter.model(self._points(corners, corners, torch.contiguous_format))
            try:
                other = self.meter.model(self._points(corners, corners, layout))
            except RuntimeError:  # networks that flatten with view()
                return False
        return torch.allclose(one, other, rtol=1e-4, atol=1e-5)


def judged(logits: Tensor, label: int, loss: Loss) -> tuple[Tensor, Tensor]:
    """Logits (M, K) to the loss of ``label`` (M,) float64 and the class decided for (M,) int64."""
    labels = torch.full((len(logits),), label)
    return attack_loss(loss, logits, labels), logits.argmax(dim=1)
