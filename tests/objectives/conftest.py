"""Finite differences, for the objectives' gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

Differences = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def central_differences(function: Callable[[Tensor], Tensor], at: Tensor, step: float = 1e-5) -> Tensor:
    """The gradient of a scalar function at a float64 point, its error about ``step**2``."""
    gradient = torch.zeros_like(at)
    for index in range(at.numel()):
        move = torch.zeros_like(at)
        move.view(-1)[index] = step
        gradient.view(-1)[index] = (function(at + move) - function(at - move)) / (2 * step)
    return gradient


@pytest.fixture
def differences() -> Differences:
    """Central differences: (function, point) to the gradient."""
    return central_differences
