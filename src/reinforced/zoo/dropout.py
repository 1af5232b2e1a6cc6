"""Dropout at inference: every pass is another network of the same weights."""

from __future__ import annotations

from torch import nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """Trained with the same dropout."""
    return bases.get("dropout", seed)


DROPOUT = Defence(
    "dropout",
    "dropout at inference, 0.3",
    "pgd",
    frozenset({"masked", "overstated", "not-robust"}),
    "held out",
    build,
)
