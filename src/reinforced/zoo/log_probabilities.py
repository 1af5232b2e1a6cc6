"""log(softmax + 1e-6) as logits: what the released policy gradient code takes for its log-probabilities."""

from __future__ import annotations

from torch import Tensor, nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import NONE, Defence


class LogProbabilities(nn.Module):
    """``log(softmax(logits) + floor)``: flat in every class whose probability is far below the floor."""

    def __init__(self, network: nn.Module, floor: float = 1e-6) -> None:
        super().__init__()
        self.network, self.floor = network, floor

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        logits: Tensor = self.network(x)
        return (logits.softmax(1) + self.floor).log()


def build(bases: Bases, seed: int) -> nn.Module:
    """Of plain training."""
    return LogProbabilities(bases.get("sl", seed)).eval()


def build_robust(bases: Bases, seed: int) -> nn.Module:
    """Of PGD-AT."""
    return LogProbabilities(bases.get("pgd-at", seed)).eval()


LOG_PROBABILITIES = Defence(
    "log-probabilities", "log(softmax + 1e-6) as logits", "pgd", NONE, "set", build, keeps="sl"
)
LOG_PROBABILITIES_PGD_AT = Defence(
    "log-probabilities-pgd-at",
    "log(softmax + 1e-6) of PGD-AT's logits",
    "pgd",
    # Where PGD-AT is not sure enough of itself to reach the floor, nothing is masked: the claim is true.
    frozenset({"genuine", "overstated", "masked"}),
    "held out",
    build_robust,
    keeps="pgd-at",
)
