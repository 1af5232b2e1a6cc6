"""Networks whose logits are known functions of an image's mean pixel: every attack's path is known."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.findings import Claim
from reinforced.evaluation.preflight import preflight

EPSILON = 0.1
CLAIM = f"pgd@linf:{EPSILON}"

Points = list[tuple[float, float]]


class Curves(nn.Module):
    """Three logits, piecewise linear in t = (mean pixel - 1/2) / epsilon; the third is -10."""

    def __init__(self, first: Points, second: Points) -> None:
        super().__init__()
        self.curves = (first, second)

    def forward(self, images: Tensor) -> Tensor:
        t = (images.flatten(1).mean(dim=1) - 0.5) / EPSILON
        return torch.stack([*(_at(t, points) for points in self.curves), torch.full_like(t, -10)], dim=1)


def _at(t: Tensor, points: Points) -> Tensor:
    height = points[0][1]
    found, slope = torch.full_like(t, height), 0.0
    for (start, low), (end, high) in pairwise(points):
        rise = (high - low) / (end - start)
        found, slope = found + (rise - slope) * (t - start).clamp_min(0), rise
    return found - slope * (t - points[-1][0]).clamp_min(0)


VALLEY = ([(-1.0, 0.0), (1.0, 0.0)], [(-1.0, -2.0), (0.2, -0.8), (0.5, -1.5), (1.0, 1.0)])
"""The rival rises to a hill at t = 0.2, and wins beyond a valley, at t = 0.8: steps stay on the hill."""
DROWNED = (
    [(-1.0, -0.2), (-0.4, -0.2), (0.4, 2.2), (1.0, 2.2)],
    [(-1.0, -1.0), (0.0, 0.0), (0.4, 0.4), (1.0, 3.4)],
)
"""The rival rises and wins at t = 1, but around 0 the label rises faster: the margin leads to -0.4."""


def grey_case(model: nn.Module, claimed: Tensor | None = None, images: int = 40) -> Case:
    """A case on constant grey images of class 0, all claimed unless said otherwise."""
    x, y = torch.full((images, 1, 8, 8), 0.5), torch.zeros(images, dtype=torch.int64)
    every = torch.ones(images, dtype=torch.bool)
    left = every if claimed is None else claimed
    return Case(
        model.eval(), x, y, Claim.parse(CLAIM), every, left, preflight(model, x, y, []), budget="quick"
    )
