"""Adversarial training that works: TRADES (Zhang et al. 2019)."""

from __future__ import annotations

from torch import nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import REAL, Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """A clean loss and 6 times the divergence between clean and crafted images."""
    return bases.get("trades", seed)


TRADES = Defence("trades", "TRADES", "pgd(steps=50,loss=margin,restarts=3)", REAL, "held out", build)
