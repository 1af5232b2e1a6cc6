"""Channels last: the same logits, and networks that cannot take it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.models import build, channels_last


class Viewing(nn.Module):
    """Flattens with ``view``, which only contiguous features allow."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.convolve(x).view(len(x), -1))
        return logits


def test_logits_and_gradients_are_the_same_but_for_rounding() -> None:
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    model = build("cnn6_small", shape=(3, 16, 16), classes=10).eval()
    before = model(images)
    (slope,) = torch.autograd.grad(before.sum(), images)
    assert channels_last(model, (3, 16, 16), 10) is model
    assert model.network[3].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index, union-attr]
    after = model(images)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(torch.autograd.grad(after.sum(), images)[0], slope)


def test_a_network_that_cannot_take_it_stays_as_it_was() -> None:
    model = Viewing().train()
    images = torch.rand(2, 3, 8, 8)
    before = model(images)
    assert channels_last(model, (3, 8, 8), 10).training
    assert torch.equal(model(images), before)
    assert model.convolve.weight.is_contiguous()
