"""docs/theory.md, checked: the reward's gradient and Hessian, and the bounds along an attack's path."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.attacks.threat import ThreatModel
from reinforced.data import load, to_float
from reinforced.diagnostics.bounds import steps_of
from reinforced.diagnostics.indicators.base import lent
from reinforced.diagnostics.indicators.path import walk
from reinforced.models import build


def trained() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """``tiny`` after 60 updates on digits, in float64, with 64 of its images."""
    torch.manual_seed(0)
    split = load("digits").train
    images, labels = split.batch(torch.arange(len(split)))
    pixels = to_float(images)
    model = build("tiny", shape=split.shape, classes=10, normalize="digits").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = torch.arange(step * 64, step * 64 + 64) % len(labels)
        optimizer.zero_grad()
        F.cross_entropy(model(pixels[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.double().eval(), pixels[:64].double(), labels[:64]


def test_the_rewards_input_gradient_is_p_y_times_that_of_cross_entropy() -> None:
    model, images, labels = trained()
    leaf = images.clone().requires_grad_()
    log_pi = torch.log_softmax(model(leaf), dim=1)
    right = log_pi.gather(1, labels[:, None])[:, 0]
    (of_ce,) = torch.autograd.grad(-right.sum(), leaf, retain_graph=True)
    (of_reward,) = torch.autograd.grad((1 - right.exp()).sum(), leaf)
    expected = right.detach().exp().view(-1, 1, 1, 1) * of_ce
    error = (of_reward - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert error.max() < 1e-9
    assert right.exp().min() < 0.9  # or the factor would hardly be seen


def test_the_rewards_curvature_is_less_by_the_square_of_the_slope() -> None:
    model, images, labels = trained()
    along = torch.randn(images.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def curved(reward: bool) -> tuple[Tensor, Tensor]:
        leaf = images.clone().requires_grad_()
        ce = -torch.log_softmax(model(leaf), dim=1).gather(1, labels[:, None])[:, 0]
        (g,) = torch.autograd.grad((1 - (-ce).exp() if reward else ce).sum(), leaf, create_graph=True)
        slope = (g * along).flatten(1).sum(1)
        (bent,) = torch.autograd.grad(slope.sum(), leaf)
        return slope.detach(), (bent * along).flatten(1).sum(1)

    slope, of_ce = curved(reward=False)
    _, of_reward = curved(reward=True)
    with torch.no_grad():
        p = torch.softmax(model(images), dim=1).gather(1, labels[:, None])[:, 0]
    assert torch.allclose(of_reward, p * (of_ce - slope**2), rtol=1e-9, atol=1e-12)


def quadratic(x: Tensor) -> Tensor:
    """Curvature 3 in every direction."""
    return x.flatten(1).sum(1) + 1.5 * x.flatten(1).square().sum(1)


def test_of_a_quadratic_both_bounds_are_reached() -> None:
    x = torch.rand(5, 1, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points = [x]
    for _ in range(4):  # steps along the gradient, which is 1 + 3 x
        g = 1 + 3 * points[-1]
        points.append(points[-1] + 0.1 * g / g.flatten(1).norm(dim=1).view(-1, 1, 1, 1))
    found = steps_of(quadratic, torch.stack(points), grid=3)
    assert torch.allclose(found.bend, torch.full((4, 5), 3.0, dtype=torch.float64))
    assert torch.allclose(found.smoothness, found.bend)
    assert torch.allclose(found.dip, -found.bend)
    for bound in (found.tight, found.loose, found.below):
        assert torch.allclose(found.rise, bound)
    total = quadratic(points[-1]) - quadratic(points[0])
    assert torch.allclose(found.tight.sum(0), total)
    # Steps of length a: the sum of gradient norms times a, and T beta a^2 / 2.
    assert torch.allclose(found.loose.sum(0), 0.1 * found.gradient.sum(0) + 4 * 3 * 0.1**2 / 2)


def test_a_linear_loss_keeps_its_promise_and_no_step_is_no_step() -> None:
    points = torch.zeros(3, 2, 1, 1, 2, dtype=torch.float64)
    points[1:] += 0.5
    found = steps_of(lambda x: x.flatten(1).sum(1), points)
    assert found.rise.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert torch.equal(found.promised, found.rise)
    assert torch.equal(found.tight, found.rise)
    assert not found.length[1].any()
    assert not found.bend.any()


@pytest.mark.parametrize("reward", [False, True])
def test_a_trained_networks_path_keeps_within_its_bounds(reward: bool) -> None:
    model, images, labels = trained()
    images, labels = images[:16], labels[:16]
    with lent(model.float(), images.float(), labels) as meter:
        path = walk(meter, images.float(), images.float(), labels, ThreatModel("linf", 0.15), steps=5)
        points = torch.stack([iterate.images.detach() for iterate in path]).double()
    exact = model.double()

    def loss(x: Tensor) -> Tensor:
        of_right = torch.log_softmax(exact(x), dim=1).gather(1, labels[:, None])[:, 0]
        return 1 - of_right.exp() if reward else -of_right

    found = steps_of(loss, points)
    assert (found.rise <= found.tight + 1e-9).double().mean() > 0.98  # a kink between two points may hide
    assert (found.rise >= found.below - 1e-9).double().mean() > 0.98
    assert (found.tight <= found.loose + 1e-9).all()
    if reward:
        assert (found.rise.sum(0) <= 1).all()
