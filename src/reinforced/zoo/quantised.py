"""Input quantisation to 8 levels (Buckman et al. 2018; Xu et al. 2018): rounding has no gradient."""

from __future__ import annotations

from torch import Tensor, nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence


class Quantise(nn.Module):
    """Rounds each pixel of [0,1] to one of ``levels``."""

    def __init__(self, levels: int = 8) -> None:
        super().__init__()
        self.steps = levels - 1

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return (x * self.steps).round() / self.steps


def build(bases: Bases, seed: int) -> nn.Module:
    """Before plain training's network."""
    return nn.Sequential(Quantise(), bases.get("sl", seed)).eval()


QUANTISED = Defence("quantised", "input quantised to 8 levels", "pgd", frozenset({"masked"}), "set", build)
