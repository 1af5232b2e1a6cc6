"""Loss and decision over the plane of an adversarial and a random direction, all cells or by need."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import Loss
from reinforced.diagnostics.indicators.adaptive import SHARE, fill
from reinforced.diagnostics.indicators.base import lent
from reinforced.diagnostics.indicators.cells import Cells, judged
from reinforced.diagnostics.indicators.plane import Plane

SIZE, SPAN = 300, 3.0
"""Cells a side, and how far the axes reach in epsilons (Zou et al. 2026)."""


@dataclass(frozen=True)
class Landscape:
    """What the model says over a plane. Rows follow b (random), columns a (adversarial), both ascending.

    Attributes:
        axis: (n,) float64, the coordinates in epsilons, of rows and columns alike.
        loss: (n, n) float64.
        decision: (n, n) int64, the predicted class.
        evaluated: (n, n) bool, the cells that the model was asked about; the others are interpolated.
        label: the image's class.
        loss_name: of attacks/losses.py.
        clip: whether points were moved into [0,1].
        forwards: passes spent on the grid, in images.
    """

    axis: Tensor
    loss: Tensor
    decision: Tensor
    evaluated: Tensor
    label: int
    loss_name: Loss
    clip: bool
    forwards: int

    @property
    def regions(self) -> dict[int, float]:
        """Share of cells that each class takes, the largest first."""
        counts = torch.bincount(self.decision.flatten()).tolist()
        shares = {label: count / self.decision.numel() for label, count in enumerate(counts) if count}
        return dict(sorted(shares.items(), key=lambda item: -item[1]))


def landscape(
    model: nn.Module,
    plane: Plane,
    *,
    size: int = SIZE,
    span: float = SPAN,
    loss: Loss = "ce",
    clip: bool = False,
    adaptive: bool = False,
    share: float = SHARE,
    batch: int | None = None,
) -> Landscape:
    """Loss and decision at ``size`` x ``size`` points of a plane.

    Args:
        model: [0,1] images -> logits, in any mode; afterwards as it was.
        plane: see :func:`~reinforced.diagnostics.indicators.plane.adversarial_plane`.
        size: points a side, at least 2.
        span: the axes go from ``-span`` to ``span``, in epsilons.
        loss: one of attacks/losses.py.
        clip: move points into [0,1]; the paper lets them leave it.
        adaptive: evaluate a part of the points and interpolate the rest, see adaptive.py.
        share: of the points, the most that ``adaptive`` evaluates.
        batch: points at a time; none for what suits the device.
    """
    axis = torch.linspace(-span, span, size, dtype=torch.float64)
    pitch = 2 * span / (size - 1)
    with lent(model, plane.image[None], torch.tensor([plane.label])) as meter:
        cells = Cells(meter, plane, batch=batch, clip=clip)
        if adaptive:

            def ask(rows: Tensor, columns: Tensor) -> Tensor:
                return cells.all(pitch * columns - span, pitch * rows - span)

            filled = fill(ask, size, plane.label, loss, share=share)
            values, decision, evaluated = filled.loss, filled.decision, filled.evaluated
        else:
            values = torch.empty(size * size, dtype=torch.float64)
            decision = torch.empty(size * size, dtype=torch.int64)
            for rows, logits in cells(axis.repeat(size), axis.repeat_interleave(size)):
                values[rows], decision[rows] = judged(logits, plane.label, loss)
            values, decision = values.view(size, size), decision.view(size, size)
            evaluated = torch.ones(size, size, dtype=torch.bool)
    return Landscape(axis, values, decision, evaluated, plane.label, loss, clip, meter.forwards)


@dataclass(frozen=True)
class Slices:
    """The plane's two axes: ``at`` (n,) in epsilons; ``loss`` and ``decision`` (2, n), adversarial first."""

    at: Tensor
    loss: Tensor
    decision: Tensor

    def nearest_other(self) -> float | None:
        """Distance along the adversarial axis to a class other than the image's own prediction, in epsilons.

        Signed: below 0 where it lies against the adversarial direction; ``None`` if there is none in sight.
        """
        own = self.decision[0, int(self.at.abs().argmin())]
        other = self.at[self.decision[0] != own]
        return float(other[other.abs().argmin()]) if len(other) else None


def slices(
    model: nn.Module,
    plane: Plane,
    *,
    size: int = 2 * SIZE + 1,
    span: float = SPAN,
    loss: Loss = "ce",
    clip: bool = False,
    batch: int | None = None,
) -> Slices:
    """Loss and decision along each axis through the image itself; an odd ``size`` meets it exactly."""
    at = torch.linspace(-span, span, size, dtype=torch.float64)
    zero = torch.zeros_like(at)
    with lent(model, plane.image[None], torch.tensor([plane.label])) as meter:
        cells = Cells(meter, plane, batch=batch, clip=clip)
        logits = cells.all(torch.cat([at, zero]), torch.cat([zero, at]))
    values, decision = judged(logits, plane.label, loss)
    return Slices(at, values.view(2, size), decision.view(2, size))
