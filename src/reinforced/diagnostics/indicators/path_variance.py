"""How the gradient's direction scatters over the path, and from image to image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reinforced.diagnostics.indicators.base import Indicator, directions, undefined
from reinforced.diagnostics.indicators.path import Iterate


class PathVariance:
    """Over an image's own path: 1 - mean cosine of all pairs of its gradients, (N,).

    0 where the direction never changes, 1 where steps have nothing to do with each other. Zero gradients
    have no direction and are left out; not-a-number with fewer than two others.
    """

    def __init__(self) -> None:
        self._batches: list[Tensor] = []
        self._sum: Tensor | None = None
        self._count: Tensor | None = None

    def see(self, iterate: Iterate) -> None:
        """See :class:`~reinforced.diagnostics.indicators.path.PathIndicator`."""
        if iterate.number == 0:
            self._sum = self._count = None
        if iterate.gradient is not None:
            units = directions(iterate.gradient)
            count = units.any(dim=1).double()
            self._sum = units if self._sum is None else self._sum + units
            self._count = count if self._count is None else self._count + count
            return
        assert self._sum is not None
        assert self._count is not None
        # |sum of n unit vectors|^2 = n + 2 * (sum of the pairs' cosines): no pair need be formed.
        pairs = self._count * (self._count - 1)
        cosine = (self._sum.square().sum(dim=1) - self._count) / pairs.clamp_min(1)
        self._batches.append(undefined(1 - cosine, pairs == 0).cpu())

    def result(self, forwards: int, gradients: int) -> Indicator:
        """One value an image."""
        return Indicator("path_variance", "", torch.cat(self._batches), ("image",), forwards, gradients)


class BatchVariance:
    """Across images: 1 - mean cosine of the images' gradients at x_t with their mean direction, (T,).

    Over all images that are given, not over the part that fits in memory; of N unrelated directions it is
    about 1 - 1 / sqrt(N). The figure ``of_mean_direction`` is the released code's ``dir_var``: 1 - mean
    cosine of all pairs of steps of the mean direction.
    """

    def __init__(self) -> None:
        self._sums: list[Tensor] = []
        self._counts: list[float] = []

    def see(self, iterate: Iterate) -> None:
        """See :class:`~reinforced.diagnostics.indicators.path.PathIndicator`."""
        if iterate.gradient is None:
            return
        units = directions(iterate.gradient)
        if iterate.number == len(self._sums):
            self._sums.append(torch.zeros_like(units[0]))
            self._counts.append(0.0)
        self._sums[iterate.number] += units.sum(dim=0)
        self._counts[iterate.number] += float(units.any(dim=1).sum())

    def result(self, forwards: int, gradients: int) -> Indicator:
        """Row t belongs to x_t."""
        sums = torch.stack(self._sums).cpu()
        counts = torch.tensor(self._counts, dtype=torch.float64)
        # The mean cosine with the mean direction is the length of the mean of the unit vectors.
        mean = torch.linalg.vector_norm(sums, dim=1) / counts.clamp_min(1)
        values = undefined(1 - mean, counts == 0)
        units = torch.nn.functional.normalize(sums, dim=1)
        pairs = (units @ units.T)[tuple(torch.triu_indices(len(sums), len(sums), 1))]
        scatter = 1 - float(pairs.mean()) if len(pairs) else math.nan
        figures = {} if math.isnan(scatter) else {"of_mean_direction": scatter}
        return Indicator("batch_variance", "", values, ("step",), forwards, gradients, figures=figures)
