"""k-winners-take-all activations (Xiao et al. 2020), broken by Tramer et al. 2020: full of jumps."""

from __future__ import annotations

from torch import nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """A tenth of each layer's activations stays."""
    return bases.get("k-winners", seed)


K_WINNERS = Defence(
    "k-winners",
    "k-winners-take-all, a tenth stays",
    "pgd",
    frozenset({"masked", "overstated", "not-robust"}),
    "held out",
    build,
)
