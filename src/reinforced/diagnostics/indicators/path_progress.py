"""How the loss rises along the path."""

from __future__ import annotations

import torch
from torch import Tensor

from reinforced.diagnostics.indicators.base import Indicator, precise
from reinforced.diagnostics.indicators.path import Iterate


class PathProgress:
    """``loss(x_t) - loss(x_0)``, t = 1 to T, (T, N); ``rising_steps`` is the share of steps that raise it."""

    def __init__(self) -> None:
        self._batches: list[list[Tensor]] = []

    def see(self, iterate: Iterate) -> None:
        """See :class:`~reinforced.diagnostics.indicators.path.PathIndicator`."""
        if iterate.number == 0:
            self._batches.append([])
        self._batches[-1].append(precise(iterate.loss).cpu())

    def result(self, forwards: int, gradients: int) -> Indicator:
        """Row t - 1 belongs to x_t."""
        losses = torch.cat([torch.stack(rows) for rows in self._batches], dim=1)
        rising = float((losses.diff(dim=0) > 0).double().mean())
        return Indicator(
            "path_progress",
            "loss",
            losses[1:] - losses[0],
            ("step", "image"),
            forwards,
            gradients,
            figures={"rising_steps": rising},
        )
