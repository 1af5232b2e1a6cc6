"""Networks of a user's own, named ``user_networks:function`` in the tests' recipes."""

from __future__ import annotations

import os
import time
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]


def noisy(classes: int, shape: Shape) -> nn.Module:
    """Batch norm and dropout."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Dropout(0.3), nn.Linear(6 * ((shape[1] - 2) // 2) * ((shape[2] - 2) // 2), classes),
    )  # fmt: skip


def linear(classes: int, shape: Shape) -> nn.Module:
    channels, height, width = shape
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, classes))


class Tied(nn.Module):
    """Two layers share one weight."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.last = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.second(self.first(x.flatten(1)).relu()).relu())
        return logits


def tied(classes: int, shape: Shape) -> nn.Module:
    return Tied(classes)


class _NanGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.nan


class Failing(nn.Module):
    """Right until its ``good``-th training batch, then not-a-number in the logits or in the gradient."""

    def __init__(self, network: nn.Module, good: int, where: str) -> None:
        super().__init__()
        self.network, self.good, self.where, self.seen = network, good, where, 0

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network(x)
        self.seen += self.training
        if not self.training or self.seen <= self.good:
            return logits
        if self.where == "logits":
            return logits * torch.nan
        failed: Tensor = _NanGradient.apply(logits)
        return failed


def nan_logits(classes: int, shape: Shape) -> nn.Module:
    return Failing(linear(classes, shape), 4, "logits")


def nan_gradient(classes: int, shape: Shape) -> nn.Module:
    return Failing(linear(classes, shape), 4, "gradient")


class Slow(nn.Module):
    """Takes its time where the environment says so, for signals to arrive meanwhile."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            time.sleep(float(os.environ.get("SLOW", "0")))
        logits: Tensor = self.network(x)
        return logits


def slow(classes: int, shape: Shape) -> nn.Module:
    return Slow(noisy(classes, shape))


def slow_linear(classes: int, shape: Shape) -> nn.Module:
    return Slow(linear(classes, shape))


def norm(classes: int, shape: Shape) -> nn.Module:
    """Batch norm alone."""
    return nn.Sequential(
        nn.Conv2d(shape[0], 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(),
        nn.Linear(6 * (shape[1] - 2) * (shape[2] - 2), classes),
    )  # fmt: skip


def norm_of_features(classes: int, shape: Shape) -> nn.Module:
    """Batch norm of features, which one image has no variance of."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(shape[0] * shape[1] * shape[2], 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, classes),
    )


class Disagreeing(nn.Module):
    """Blind when it is evaluated, in every process but the first, after its first epoch of three updates."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.seen = network, 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += self.training
        logits: Tensor = self.network(x)
        blind = not self.training and self.seen > 3 and os.environ.get("RANK", "0") != "0"
        return logits * 0 if blind else logits


def disagreeing(classes: int, shape: Shape) -> nn.Module:
    return Disagreeing(linear(classes, shape))
