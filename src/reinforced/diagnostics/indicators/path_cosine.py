"""Cosine of a step's gradient with the step before."""

from __future__ import annotations

import torch
from torch import Tensor

from reinforced.diagnostics.indicators.base import Indicator, directions, undefined
from reinforced.diagnostics.indicators.path import Iterate


class PathCosine:
    """``cos(grad loss(x_t), grad loss(x_{t-1}))`` (T - 1, N); not-a-number where either is zero."""

    def __init__(self) -> None:
        self._batches: list[list[Tensor]] = []
        self._before: Tensor | None = None

    def see(self, iterate: Iterate) -> None:
        """See :class:`~reinforced.diagnostics.indicators.path.PathIndicator`."""
        if iterate.number == 0:
            self._batches.append([])
            self._before = None
        if iterate.gradient is None:
            return
        now = directions(iterate.gradient)
        if self._before is not None:
            zero = ~(now.any(dim=1) & self._before.any(dim=1))
            cosine = (now * self._before).sum(dim=1).clamp(-1, 1)
            self._batches[-1].append(undefined(cosine, zero).cpu())
        self._before = now

    def result(self, forwards: int, gradients: int) -> Indicator:
        """Row t - 1 compares x_t with x_{t-1}."""
        columns = [torch.stack(rows) for rows in self._batches if rows]
        values = torch.cat(columns, dim=1) if columns else torch.empty(0, 0, dtype=torch.float64)
        return Indicator("path_cosine", "", values, ("step", "image"), forwards, gradients)
