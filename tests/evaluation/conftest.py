from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn


@pytest.fixture(scope="session")
def model() -> nn.Module:
    """A small random network in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 5)
        ).eval()


@pytest.fixture(scope="session")
def data(model: nn.Sequential) -> tuple[Tensor, Tensor]:
    """150 images, three chunks, every tenth misclassified."""
    images = torch.rand(150, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    head = model[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.sub_(model(images).mean(dim=0))
        labels = model(images).argmax(dim=1)
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels


@pytest.fixture(autouse=True)
def _same_random_state() -> Iterator[None]:
    """No evaluation may move the global stream."""
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)
