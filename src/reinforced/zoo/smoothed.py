"""Randomised smoothing (Cohen et al. 2019): the majority class over noisy copies, with a certificate."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.attacks.threat import ThreatModel
from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence, Smoothing
from reinforced.zoo.networks import SIGMA

COPIES = 4


class Smoothed(nn.Module):
    """Log vote shares over ``copies`` fresh noisy copies, with the soft votes' gradient.

    The gradient is the mean softmax's (Salman et al. 2019): the claimed attack must be able to work, for
    this robustness is real.
    """

    def __init__(self, network: nn.Module, sigma: float, copies: int) -> None:
        super().__init__()
        self.network, self.sigma, self.copies = network, sigma, copies

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K): Laplace's estimate of each class's share, as a logarithm."""
        noisy = x.repeat(self.copies, 1, 1, 1)
        logits: Tensor = self.network(noisy + self.sigma * torch.randn_like(noisy))
        soft = logits.softmax(1).view(self.copies, len(x), -1).mean(0).clamp_min(1e-12).log()
        votes = F.one_hot(logits.argmax(1), logits.shape[1]).view(self.copies, len(x), -1).sum(0)
        shares = ((votes + 1) / (self.copies + logits.shape[1])).log()
        scores: Tensor = soft + (shares - soft).detach()
        return scores


def noisy(bases: Bases, seed: int) -> nn.Module:
    """The network trained on such noise and on L2 PGD through it (Salman et al. 2019)."""
    return bases.get("noisy", seed)


def build(bases: Bases, seed: int) -> nn.Module:
    """Its majority vote."""
    return Smoothed(noisy(bases, seed), SIGMA, COPIES).eval()


SMOOTHED = Defence(
    "smoothed",
    f"randomised smoothing, sigma {SIGMA:g}",
    "pgd(loss=margin,eot=4)",
    frozenset({"genuine"}),
    "held out",
    build,
    threat=ThreatModel("l2", 0.75),
    smoothing=Smoothing(noisy, SIGMA),
)
