"""A layer that is the identity forwards and nothing backwards: a bug, or a gradient hidden on purpose."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import LESS, Defence


class _NoGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004
        return torch.zeros_like(gradients[0])


class ZeroBackward(nn.Module):
    """The identity, with a gradient of zero."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        out: Tensor = _NoGradient.apply(x)
        return out


def build(bases: Bases, seed: int) -> nn.Module:
    """Before plain training's network."""
    return nn.Sequential(ZeroBackward(), bases.get("sl", seed)).eval()


def build_robust(bases: Bases, seed: int) -> nn.Module:
    """Before PGD-AT's network."""
    return nn.Sequential(ZeroBackward(), bases.get("pgd-at", seed)).eval()


ZERO_BACKWARD = Defence(
    "zero-backward", "a layer with zero backward", "pgd", frozenset({"masked"}), "set", build, keeps="sl"
)
ZERO_BACKWARD_PGD_AT = Defence(
    "zero-backward-pgd-at",
    "a layer with zero backward before PGD-AT",
    "pgd",
    LESS,
    "held out",
    build_robust,
    keeps="pgd-at",
)
