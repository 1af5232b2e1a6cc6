"""Gradient alignment on models whose gradients are known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from reinforced.regularisers import GradientAlignment
from reinforced.streams import Stream
from reinforced.training.adversaries import Fast
from reinforced.training.recipe import Phase
from reinforced.training.step import Stepper, trainee_of

LABELS = torch.arange(6) % 2
EPSILON = 0.3


class Known(nn.Module):
    """Two classes, logit 1 minus logit 0 is ``score(image)``; logit 0 is 0."""

    def __init__(self, power: int, scale: float = 1) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(12, generator=torch.Generator().manual_seed(0)))
        self.power = power
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        score = self.scale * (images.flatten(1) ** self.power @ self.w)
        return torch.stack([torch.zeros_like(score), score], dim=1)


def images(requires_grad: bool = True) -> Tensor:
    return torch.rand(6, 3, 2, 2, generator=torch.Generator().manual_seed(1)).requires_grad_(requires_grad)


def value(network: nn.Module, batch: Tensor, labels: Tensor = LABELS) -> Tensor:
    regulariser = GradientAlignment(strength=1, epsilon=EPSILON)
    return regulariser.penalty(network, batch, labels, network(batch), Stream(0, "r"))


def test_a_linear_two_class_model_is_aligned() -> None:
    """Its gradients are all multiples, of one sign for one label, of the same vector."""
    assert value(Known(1), images()).item() == pytest.approx(0, abs=1e-6)


def test_a_quadratic_model_has_the_cosine_of_its_points() -> None:
    network = Known(2)
    draws = 2 * Stream(0, "r").uniform(6, 3, 2, 2) - 1
    here, there = images(False).flatten(1), (images(False) + EPSILON * draws).flatten(1)
    weight = network.w.detach()
    expected = 1 - torch.cosine_similarity(weight * here, weight * there)
    assert expected.mean() > 0.01
    assert value(network, images()).item() == pytest.approx(expected.mean().item(), rel=1e-4)


def test_the_scale_of_the_gradient_does_not_matter() -> None:
    """A confident network's gradients are so small that their squares underflow in float32."""
    labels = (Known(2)(images(False))[:, 1] > 0).long()
    plain, confident = Known(2, 1e-20), Known(2, 1e-30)
    assert value(confident, images(), labels).item() == pytest.approx(
        value(plain, images(), labels).item(), rel=1e-4
    )


def test_images_without_gradient_count_as_aligned() -> None:
    network = Known(2)
    with torch.no_grad():
        network.w.zero_()
    penalty = value(network, images())
    assert penalty == 0
    (gradient,) = torch.autograd.grad(penalty, network.w)
    assert (gradient == 0).all()


def test_it_is_of_the_steps_clean_images() -> None:
    """Also beside an adversary that trains on crafted ones alone."""
    batch, network = images(False), Known(2)
    seen: list[Tensor] = []

    class Told(GradientAlignment):
        def penalty(self, network: nn.Module, images: Tensor, *rest: Any) -> Tensor:
            seen.append(images)
            return super().penalty(network, images, *rest)

    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    phase = Phase(epochs=1, adversary=Fast(epsilon=0.3), regularisers=(GradientAlignment(epsilon=EPSILON),))
    phase = phase.model_copy(update={"regularisers": (Told(epsilon=EPSILON),)})
    streams = {name: Stream(0, name) for name in ("exploration", "adversary", "regulariser")}
    accelerator = Accelerator(cpu=True)
    trainee = trainee_of(network, accelerator, "float32")
    stepper = Stepper(trainee, phase, optimizer, accelerator, streams, {}, None)
    stepper.step(batch, LABELS, phase.objective)
    (given,) = seen
    assert torch.equal(given, batch)


def test_dropout_masks_are_those_of_both_points() -> None:
    """Else the cosine would measure dropout: a linear model is aligned whatever its mask."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(12, 2))
    assert value(network, images()).item() == pytest.approx(0, abs=1e-6)


def test_its_own_forward_uses_the_batchs_statistics_and_keeps_the_running_ones() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(4, 2))
    batch = images()
    logits = network(batch)
    before = [buffer.clone() for buffer in network.buffers()]
    regulariser = GradientAlignment(strength=1, epsilon=EPSILON)
    first = regulariser.penalty(network, batch, LABELS, logits, Stream(0, "r"))
    assert all(torch.equal(one, other) for one, other in zip(network.buffers(), before, strict=True))
    with torch.no_grad():
        for buffer in network.buffers():
            buffer.mul_(5)
    again = regulariser.penalty(network, batch, LABELS, network(batch), Stream(0, "r"))
    assert torch.equal(first, again)
