"""Double backpropagation against the closed form of a linear model."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.regularisers import InputGradient
from reinforced.streams import Stream

K, D = 5, 12
LABELS = torch.tensor([0, 4, 2, 2, 1, 3])


def linear() -> tuple[nn.Linear, Tensor]:
    generator = torch.Generator().manual_seed(0)
    network = nn.Linear(D, K, dtype=torch.float64)
    with torch.no_grad():
        network.weight.copy_(torch.randn(K, D, generator=generator, dtype=torch.float64))
    return network, torch.randn(len(LABELS), D, generator=generator, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_closed_form_of_a_linear_model(norm: Literal["l2", "l1"]) -> None:
    """d CE / d x = W^T (p - onehot), whatever the size of the batch."""
    network, images = linear()
    logits = network(images)
    value = InputGradient(strength=3, norm=norm).penalty(network, images, LABELS, logits, Stream(0, "r"))
    gradient = (logits.softmax(1) - F.one_hot(LABELS, K)) @ network.weight
    sizes = gradient.abs() if norm == "l1" else gradient.square()
    assert torch.allclose(value, 3 * sizes.sum(1).mean(), rtol=1e-12)


def test_l1_is_the_rise_of_the_loss_under_a_small_signed_step() -> None:
    network, images = linear()
    logits = network(images)
    epsilon = 1e-6
    value = InputGradient(strength=epsilon, norm="l1").penalty(
        network, images, LABELS, logits, Stream(0, "r")
    )
    loss = F.cross_entropy(logits, LABELS)
    (gradient,) = torch.autograd.grad(loss, images)
    worse = F.cross_entropy(network(images + epsilon * gradient.sign()), LABELS)
    assert value.item() == pytest.approx((worse - loss).item(), rel=1e-4)
