"""Majority vote of three networks, given as a one-hot answer: neither scores nor gradients."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence

OTHERS = (1000, 2000)
"""Added to the seed for the second and third voter."""


class Vote(nn.Module):
    """One-hot class with most votes; of equals the first network's, else the smallest."""

    def __init__(self, networks: list[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K), zeros and a one."""
        logits = [network(x) for network in self.networks]
        classes = logits[0].shape[1]
        votes = torch.stack([F.one_hot(each.argmax(1), classes) for each in logits]).sum(0).float()
        votes += 0.5 * F.one_hot(logits[0].argmax(1), classes)
        return F.one_hot(votes.argmax(1), classes).float()


def build(bases: Bases, seed: int) -> nn.Module:
    """Three plain networks of different seeds."""
    return Vote([bases.get("sl", seed + more) for more in (0, *OTHERS)]).eval()


VOTE = Defence(
    "vote", "majority vote of three networks, one-hot", "pgd", frozenset({"masked"}), "held out", build
)
