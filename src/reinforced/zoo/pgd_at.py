"""Adversarial training that works: PGD-AT (Madry et al. 2018)."""

from __future__ import annotations

from torch import nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import REAL, Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """Cross-entropy on images of three PGD steps."""
    return bases.get("pgd-at", seed)


PGD_AT = Defence(
    "pgd-at", "PGD adversarial training", "pgd(steps=50,loss=margin,restarts=3)", REAL, "set", build
)
