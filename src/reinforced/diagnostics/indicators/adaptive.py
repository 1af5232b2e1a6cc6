"""A grid from a part of its cells: logits between a coarse lattice are interpolated, and asked for by need.

The lattice's step is halved until it is one cell. Each time, cubic interpolation foresees the logits of the
new points; how far it was off at the step before tells how far it may be off now; and the model is asked
where that doubt could turn the decision or move the loss, the gravest first, while the budget lasts. Logits
are interpolated, rather than losses, because a boundary between classes is then found between points.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.attacks.losses import Loss
from reinforced.diagnostics.indicators.cells import judged

COARSE = 8
"""Step of the first lattice, in cells: a power of 2."""
SHARE = 0.15
"""The most of a grid's cells that may be asked for."""
TOLERANCE = 0.0025
"""Part of the loss's range that a logit may be in doubt by: the doubt itself is an estimate."""
SURE = 4.0
"""A lead of so many doubts is believed."""
DECAY = 0.5
"""Of the doubt, a step later: that of kinks, as ReLU networks have them; smooth functions do better."""
EARLY = 0.6
"""Part of what is left of the budget that a step before the last may use."""

Ask = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Filled:
    """Loss, decision and whether the model was asked, each (n, n)."""

    loss: Tensor
    decision: Tensor
    evaluated: Tensor


def fill(ask: Ask, size: int, label: int, loss: Loss, *, share: float = SHARE) -> Filled:
    """Loss and decision on a grid of ``size`` x ``size`` cells from at most ``share`` of them.

    Points up to ``2 * COARSE - 1`` cells beyond the end may be asked for, and count. A grid too small for
    the budget to cover its first lattice is asked for whole.

    Args:
        ask: rows (M,) and columns (M,) of cells to logits (M, K), float64.
        size: cells a side.
        label: whose loss is wanted.
        loss: see :func:`~reinforced.attacks.losses.attack_loss`.
        share: the most of ``size ** 2`` that is asked for.
    """
    budget = int(share * size * size)
    # An even number of steps: every second point tests the others.
    points = 2 * -(-(size - 1) // (2 * COARSE)) + 1
    step = COARSE if points >= 5 and points**2 <= budget else 1
    points = points if step > 1 else size
    rows, columns = (each.flatten() * step for each in _mesh(points))
    logits = _Lattice(ask(rows, columns).T.reshape(-1, points, points))
    budget -= points**2
    while step > 1:
        step //= 2
        logits.refine()
        room = budget if step == 1 else int(EARLY * budget)
        budget -= logits.ask_for(ask, step, room, label, loss)
    inside = logits.values[:, :size, :size].flatten(1).T
    values, decision = judged(inside, label, loss)
    known = logits.known[:size, :size]
    return Filled(values.view(size, size), decision.view(size, size), known)


class _Lattice:
    """Logits (K, m, m), which of the points are ``known`` (m, m), and how far the next may be off."""

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self.known = torch.ones(values.shape[1:], dtype=torch.bool)
        foreseen = _between(values[:, ::2, ::2]) if values.shape[1] >= 5 and values.shape[1] % 2 else values
        self.doubt = DECAY * _nearby((values - foreseen).abs().amax(dim=0))

    def refine(self) -> None:
        """Halve the step; the new points' logits are foreseen."""
        self.values = _between(self.values)
        self.doubt = F.interpolate(
            self.doubt[None, None], size=self.values.shape[1:], mode="bilinear", align_corners=True
        )[0, 0]
        known = torch.zeros_like(self.doubt, dtype=torch.bool)
        known[::2, ::2] = self.known
        self.known = known

    def ask_for(self, ask: Ask, step: int, room: int, label: int, loss: Loss) -> int:
        """Replace up to ``room`` foreseen logits by the model's; how many it was asked for."""
        values, _ = judged(self.values.flatten(1).T, label, loss)
        reach = TOLERANCE * (values.max() - values.min())
        top = self.values.topk(2, dim=0).values
        lead = ((top[0] - top[1]) / SURE).clamp_min(torch.finfo(top.dtype).tiny)
        gravity = torch.where(self.known, 0.0, self.doubt / torch.minimum(lead, reach)).flatten()
        # Stable, so that equals are taken in the same order everywhere.
        gravest = gravity.argsort(descending=True, stable=True)[:room]
        gravest = gravest[gravity[gravest] > 1]
        self.doubt = DECAY * self.doubt
        if len(gravest) == 0:
            return 0
        rows, columns = gravest // len(self.doubt), gravest % len(self.doubt)
        found = ask(rows * step, columns * step).T
        error, fresh = torch.zeros_like(self.doubt), torch.zeros_like(self.doubt)
        error[rows, columns] = (found - self.values[:, rows, columns]).abs().amax(dim=0)
        fresh[rows, columns] = 1.0
        self.values[:, rows, columns] = found
        self.known[rows, columns] = True
        # Near points just asked for, what was seen counts, not what was feared.
        self.doubt = torch.where(_nearby(fresh) > 0, DECAY * _nearby(error), self.doubt)
        return len(rows)


def _mesh(points: int) -> tuple[Tensor, ...]:
    return torch.meshgrid(torch.arange(points), torch.arange(points), indexing="ij")


def _between(values: Tensor) -> Tensor:
    """(K, m, m) to (K, 2m - 1, 2m - 1): the same points and, by cubic interpolation, those between."""
    return _halved(_halved(values, 1), 2)


def _halved(values: Tensor, dim: int) -> Tensor:
    values = values.movedim(dim, -1)
    # Beyond the ends the parabola through the last three points goes on.
    before = 3 * values[..., :1] - 3 * values[..., 1:2] + values[..., 2:3]
    after = 3 * values[..., -1:] - 3 * values[..., -2:-1] + values[..., -3:-2]
    all_points = torch.cat([before, values, after], dim=-1)
    inner, outer = all_points[..., 1:-2] + all_points[..., 2:-1], all_points[..., :-3] + all_points[..., 3:]
    finer = values.new_empty(*values.shape[:-1], 2 * values.shape[-1] - 1)
    finer[..., ::2] = values
    finer[..., 1::2] = (9 * inner - outer) / 16
    return finer.movedim(-1, dim)


def _nearby(field: Tensor) -> Tensor:
    """The largest value among each point (m, m) and its eight neighbours."""
    return F.max_pool2d(field[None, None], 3, stride=1, padding=1)[0, 0]
