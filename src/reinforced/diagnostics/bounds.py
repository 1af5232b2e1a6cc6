"""What smoothness says of an attack's path: the descent lemma's bound on every step, and the sum of them.

docs/theory.md derives both bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

PerImage = Callable[[Tensor], Tensor]
"""Images (N, C, H, W) to the loss of each, (N,), differentiable."""


@dataclass(frozen=True)
class Steps:
    """The steps d_t of a path x_0 to x_T for N images; all (T, N) float64.

    Attributes:
        rise: of the loss, L(x_{t+1}) - L(x_t).
        promised: <g_t, d_t>, with g_t the loss's gradient at x_t.
        gradient, length: L2 norms of g_t and d_t.
        bend: the largest <g(x_t + s d_t) - g_t, d_t> / (s |d_t|^2) seen over s in (0, 1].
        dip: the largest of its negatives.
        smoothness: the largest |g(x_t + s d_t) - g_t| / (s |d_t|), which is no less than either.
    """

    rise: Tensor
    promised: Tensor
    gradient: Tensor
    length: Tensor
    bend: Tensor
    dip: Tensor
    smoothness: Tensor

    @property
    def tight(self) -> Tensor:
        """The descent lemma's bound on ``rise``, with the curvature along the step."""
        return self.promised + self.bend / 2 * self.length**2

    @property
    def loose(self) -> Tensor:
        """The same for the steepest step of that length, with the gradient's Lipschitz constant."""
        return self.gradient * self.length + self.smoothness / 2 * self.length**2

    @property
    def below(self) -> Tensor:
        """The lower bound on ``rise``."""
        return self.promised - self.dip / 2 * self.length**2


def steps_of(loss: PerImage, points: Tensor, *, grid: int = 16) -> Steps:
    """Measure a path.

    Curvatures are maxima over ``grid`` points of each step: of a loss with kinks they may be too small.
    Costs ``2 * (grid + 1)`` passes an image and step.

    Args:
        loss: of each image, in the points' type.
        points: (T + 1, N, C, H, W), in float64 where rounding must not show.
        grid: points of a step, evenly spaced and its end among them.
    """
    rows = [_step(loss, here, there - here, grid) for here, there in pairwise(points)]
    return Steps(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _step(loss: PerImage, x: Tensor, d: Tensor, grid: int) -> tuple[Tensor, ...]:
    before, g = _gradient(loss, x)
    d_flat, g_flat = d.flatten(1), g.flatten(1)
    length = d_flat.norm(dim=1)
    squared = torch.where(length > 0, length**2, 1.0)  # a step of no length bends nowhere
    bends, slopes = [], []
    after = before
    for number in range(1, grid + 1):
        s = number / grid
        after, moved = _gradient(loss, x + s * d)
        change = moved.flatten(1) - g_flat
        bends.append((change * d_flat).sum(1) / (s * squared))
        slopes.append(change.norm(dim=1) / (s * squared.sqrt()))
    bend, smoothness = torch.stack(bends), torch.stack(slopes)
    promised = (g_flat * d_flat).sum(1)
    found = (after - before, promised, g_flat.norm(dim=1), length, bend.amax(0), -bend.amin(0))
    return tuple(value.double().cpu() for value in (*found, smoothness.amax(0)))


def _gradient(loss: PerImage, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        values = loss(leaf)
        (gradient,) = torch.autograd.grad(values.sum(), leaf)
    return values.detach(), gradient
