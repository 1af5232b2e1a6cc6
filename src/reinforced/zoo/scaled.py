"""Logits times 1000: the softmax saturates in float32 and the cross-entropy has no gradient left."""

from __future__ import annotations

from torch import Tensor, nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import LESS, Defence


class Scaled(nn.Module):
    """``factor`` times a network's logits."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        logits: Tensor = self.network(x)
        return self.factor * logits


def build(bases: Bases, seed: int) -> nn.Module:
    """Of plain training."""
    return Scaled(bases.get("sl", seed), 1000.0).eval()


def build_robust(bases: Bases, seed: int) -> nn.Module:
    """Of PGD-AT."""
    return Scaled(bases.get("pgd-at", seed), 1000.0).eval()


SCALED = Defence("scaled", "logits x 1000", "pgd", frozenset({"masked"}), "set", build, keeps="sl")
SCALED_PGD_AT = Defence(
    "scaled-pgd-at", "logits x 1000 of PGD-AT", "pgd", LESS, "held out", build_robust, keeps="pgd-at"
)
