"""Share of pixels whose gradient keeps its sign from step to step."""

from __future__ import annotations

import torch
from torch import Tensor

from reinforced.diagnostics.indicators.base import Indicator, precise, undefined
from reinforced.diagnostics.indicators.path import Iterate


class PathSigns:
    """Share of entries with the same sign in the gradients at x_t and x_{t-1}, (T - 1, N).

    Zero counts as a sign of its own, as in the released code; where a whole gradient is zero the share is
    not-a-number, lest vanished gradients pass for steady ones.
    """

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
        now = iterate.gradient.flatten(1).sign()
        if self._before is not None:
            zero = ~(now.any(dim=1) & self._before.any(dim=1))
            share = precise(now == self._before).mean(dim=1)
            self._batches[-1].append(undefined(share, zero.to(share.device)).cpu())
        self._before = now

    def result(self, forwards: int, gradients: int) -> Indicator:
        """Row t - 1 compares x_t with x_{t-1}."""
        columns = [torch.stack(rows) for rows in self._batches if rows]
        values = torch.cat(columns, dim=1) if columns else torch.empty(0, 0, dtype=torch.float64)
        return Indicator("path_signs", "", values, ("step", "image"), forwards, gradients)
