from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

PIXELS = 12


class Linear(nn.Module):
    """Logits ``W x + b``."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T + self.bias


class Quadratic(nn.Module):
    """Logits ``(sum_i a_i x_i^2 / 2, 0)``: for label 1 the margin loss is the quadratic itself."""

    def __init__(self, a: Tensor) -> None:
        super().__init__()
        self.a = nn.Parameter(a)

    def forward(self, x: Tensor) -> Tensor:
        first = (x.flatten(1).square() * self.a).sum(dim=1) / 2
        return torch.stack([first, torch.zeros_like(first)], dim=1)


@pytest.fixture
def images() -> Tensor:
    """Away from the faces of the box, so that balls of up to .2 are whole."""
    return 0.3 + 0.4 * torch.rand(7, 1, 3, 4, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def labels() -> Tensor:
    return torch.tensor([0, 1, 2, 3, 0, 1, 2])


@pytest.fixture
def ones() -> Tensor:
    return torch.ones(7, dtype=torch.int64)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(4, PIXELS, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def bias() -> Tensor:
    return torch.tensor([0.5, -0.2, 0.1, 0.0])


@pytest.fixture
def linear(weight: Tensor, bias: Tensor) -> nn.Module:
    """Four classes."""
    return Linear(weight, bias)


@pytest.fixture
def a() -> Tensor:
    """The eigenvalues of the quadratic's Hessian."""
    return torch.linspace(0.5, 3, PIXELS)


@pytest.fixture
def quadratic(a: Tensor) -> nn.Module:
    """Two classes."""
    return Quadratic(a)
