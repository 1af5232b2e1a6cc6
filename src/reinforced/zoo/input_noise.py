"""Gaussian noise on the input at every pass: attacks see another gradient than the one they are scored by."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence


class InputNoise(nn.Module):
    """Adds a fresh normal draw of standard deviation ``sigma``, in pixel units."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape, from the global random stream."""
        return x + self.sigma * torch.randn_like(x)


def build(bases: Bases, seed: int) -> nn.Module:
    """Before plain training's network."""
    return nn.Sequential(InputNoise(0.25), bases.get("sl", seed)).eval()


INPUT_NOISE = Defence(
    "input-noise",
    "Gaussian input noise, sigma 0.25",
    "pgd",
    frozenset({"masked", "overstated", "not-robust"}),
    "set",
    build,
)
