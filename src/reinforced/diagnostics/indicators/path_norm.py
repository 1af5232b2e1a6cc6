"""Length of the gradient along the path."""

from __future__ import annotations

import torch
from torch import Tensor

from reinforced.diagnostics.indicators.base import Indicator, lengths
from reinforced.diagnostics.indicators.path import Iterate


class PathNorm:
    """``|grad loss(x_t)|_2`` (T, N), of each image's own loss."""

    def __init__(self) -> None:
        self._batches: list[list[Tensor]] = []

    def see(self, iterate: Iterate) -> None:
        """See :class:`~reinforced.diagnostics.indicators.path.PathIndicator`."""
        if iterate.number == 0:
            self._batches.append([])
        if iterate.gradient is not None:
            self._batches[-1].append(lengths(iterate.gradient).cpu())

    def result(self, forwards: int, gradients: int) -> Indicator:
        """Row t belongs to x_t."""
        values = torch.cat([torch.stack(rows) for rows in self._batches], dim=1)
        return Indicator("path_norm", "loss / pixel", values, ("step", "image"), forwards, gradients)
