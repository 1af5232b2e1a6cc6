"""Networks that a defence is trained with, named in recipes as ``reinforced.zoo.networks:NAME``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.models import build
from reinforced.models.layers import Shape


class Winners(nn.Module):
    """Keeps an image's largest ``share`` of activations, zeroes the others (Xiao et al. 2020, k-WTA)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the same shape."""
        flat = x.flatten(1)
        least = flat.topk(max(1, int(self.share * flat.shape[1])), dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


class Dropping(nn.Module):
    """Dropout that eval mode does not switch off (Dhillon et al. 2018 prune activations likewise)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(N, ...) to the same shape, from the global random stream."""
        return F.dropout(x, self.share, training=True)


class TrainingNoise(nn.Module):
    """Gaussian noise on the input while training only (Cohen et al. 2019)."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return x + self.sigma * torch.randn_like(x) if self.training else x


SIGMA = 0.35
"""Standard deviation of the noise that ``noisy`` is trained with, in pixel units of [0,1]."""


def k_winners(shape: Shape, classes: int) -> nn.Module:
    """``tiny`` with k-winners-take-all in place of ReLU."""
    network = _tiny(shape, classes)
    for place, module in enumerate(network):
        if isinstance(module, nn.ReLU):
            network[place] = Winners(0.1)
    return network


def dropping(shape: Shape, classes: int) -> nn.Module:
    """``tiny`` with dropout after each activation, at inference too."""
    layers: list[nn.Module] = []
    for module in _tiny(shape, classes):
        layers += [module, Dropping(0.3)] if isinstance(module, nn.ReLU) else [module]
    return nn.Sequential(*layers)


def noisy(shape: Shape, classes: int) -> nn.Module:
    """``tiny`` with Gaussian noise on its input while it is trained."""
    return nn.Sequential(TrainingNoise(SIGMA), _tiny(shape, classes))


def _tiny(shape: Shape, classes: int) -> nn.Sequential:
    network = build("tiny", shape=shape, classes=classes).network
    assert isinstance(network, nn.Sequential)
    return network
