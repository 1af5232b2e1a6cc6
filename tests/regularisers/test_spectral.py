"""Largest singular values against LAPACK's, and the two regularisers that use them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from reinforced.regularisers import SpectralNorm, SpectralPenalty
from reinforced.regularisers.singular_values import largest_singular_value, layer_weights
from reinforced.streams import Stream

SHAPES = [(10, 300), (300, 10), (1, 7), (7, 1), (64, 64), (32, 16, 3, 3), (8, 40, 1, 1), (6, 2, 5)]


def random(shape: tuple[int, ...], scale: float = 1) -> Tensor:
    return scale * torch.randn(shape, generator=torch.Generator().manual_seed(0))


def sigma(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().double().flatten(1))[0])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1, 1e-25, 1e15])
def test_sigma_is_lapacks(shape: tuple[int, ...], scale: float) -> None:
    weight = random(shape, scale)
    assert largest_singular_value(weight).item() == pytest.approx(sigma(weight), rel=1e-4)


@pytest.mark.parametrize(
    ("weight", "expected"),
    [
        (torch.zeros(4, 6), 0),
        (3 * torch.eye(4, 6), 3),
        (torch.diag(torch.tensor([1, 1, 1.001, 1])), 1.001),
        (torch.ones(4, 9), 6),
        (torch.tensor([[1.0, -1, 0, 0], [1, -1, 0, 0], [0, 0, 1, 1]]), 2),
    ],
    ids=["zeros", "all alike", "nearly alike", "rank one", "orthogonal to ones"],
)
def test_sigma_of_awkward_matrices(weight: Tensor, expected: float) -> None:
    assert largest_singular_value(weight).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6), (5, 2, 3, 3)], ids=str)
def test_gradient_is_the_outer_product_of_the_singular_vectors(shape: tuple[int, ...]) -> None:
    weight = random(shape).double().requires_grad_()
    (gradient,) = torch.autograd.grad(largest_singular_value(weight), weight)
    left, _, right = torch.linalg.svd(weight.detach().flatten(1), full_matrices=False)
    assert torch.allclose(gradient.flatten(1), torch.outer(left[:, 0], right[0]), atol=1e-8)


def network() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2),
            nn.Flatten(), nn.Linear(128, 16), nn.Tanh(), nn.Linear(16, 4),
        )  # fmt: skip


def test_penalty_is_half_the_sum_of_squares_over_linear_and_convolutional_layers() -> None:
    model = network()
    images = torch.rand(2, 3, 8, 8)
    value = SpectralPenalty(strength=0.5).penalty(
        model, images, torch.zeros(2), torch.zeros(2, 4), Stream(0, "r")
    )
    squares = [sigma(module.weight) ** 2 for module in model if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len(squares) == 4
    assert value.item() == pytest.approx(0.25 * sum(squares), rel=1e-4)


def test_tied_weights_count_once_and_frozen_ones_not_at_all() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.ConvTranspose2d(4, 4, 2))
    model[1].weight = model[0].weight
    model[2].weight.requires_grad_(False)
    (weight,) = layer_weights(model)
    assert weight is model[0].weight


def test_a_network_without_layers_has_no_penalty() -> None:
    value = SpectralPenalty().penalty(
        nn.Flatten(), torch.rand(2, 4), torch.zeros(2), torch.zeros(2, 4), Stream(0, "r")
    )
    assert value == 0


@pytest.mark.parametrize(("limit", "exceeding"), [(0.1, 4), (1, 2), (5, 0)])
def test_after_an_update_no_layer_exceeds_the_limit(limit: float, exceeding: int) -> None:
    model, untouched = network(), network()
    for both in (model, untouched):
        with torch.no_grad():
            for factor, weight in zip((0.5, 1, 2, 4), layer_weights(both), strict=True):
                weight.mul_(factor)
    weights = layer_weights(model)
    before = [sigma(weight) for weight in weights]
    places = [weight.data_ptr() for weight in weights]
    SpectralNorm(limit=limit).after_update(model)
    for weight, old, place, was in zip(weights, layer_weights(untouched), places, before, strict=True):
        assert weight.data_ptr() == place
        assert weight.requires_grad
        assert sigma(weight) <= limit * (1 + 1e-5)
        if was <= limit:
            assert torch.equal(weight, old)
        else:
            assert torch.allclose(weight, old * (limit / was), rtol=1e-4)
    assert sum(was > limit for was in before) == exceeding
    projected = [weight.detach().clone() for weight in weights]
    SpectralNorm(limit=limit).after_update(model)
    assert all(torch.allclose(one, other, rtol=1e-5) for one, other in zip(weights, projected, strict=True))


def test_batch_norm_undoes_the_limit() -> None:
    """The claim the page warns of: the layer before batch norm is scaled back by it."""
    convolution = nn.Conv2d(3, 8, 3)
    with torch.no_grad():
        convolution.weight.copy_(random((8, 3, 3, 3)))
    model = nn.Sequential(convolution, nn.BatchNorm2d(8, eps=1e-12))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    before = model(images)
    SpectralNorm(limit=0.01).after_update(model)
    assert sigma(convolution.weight) == pytest.approx(0.01, rel=1e-4)
    assert torch.allclose(model(images), before, atol=1e-3)


def factors(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.running_var is not None
    return norm.weight.detach().abs() / (norm.running_var + norm.eps).sqrt()


@pytest.mark.parametrize(("limit", "binds"), [(0.5, True), (50.0, False)])
def test_a_limit_on_batch_norm_is_one_on_its_factors(limit: float, binds: bool) -> None:
    norm = nn.BatchNorm2d(5)
    assert norm.running_var is not None
    with torch.no_grad():
        norm.weight.copy_(random((5,), 3))
        norm.running_var.copy_(random((5,)).square())
    before, old = norm.weight.detach().clone(), factors(norm)
    SpectralNorm(batch_norm=limit).after_update(nn.Sequential(norm))
    if binds:
        assert factors(norm).max().item() == pytest.approx(limit, rel=1e-5)
        assert torch.allclose(factors(norm) / old, factors(norm).max() / old.max(), rtol=1e-5)
    else:
        assert torch.equal(norm.weight, before)
    SpectralNorm().after_update(nn.Sequential(norm))
    assert factors(norm).max().item() == pytest.approx(min(limit, old.max().item()), rel=1e-5)


def test_batch_norms_without_gains_or_statistics_and_frozen_ones_are_left() -> None:
    frozen = nn.BatchNorm2d(4)
    frozen.weight.requires_grad_(False)
    model = nn.Sequential(
        nn.BatchNorm2d(4, affine=False), nn.BatchNorm2d(4, track_running_stats=False), frozen
    )
    SpectralNorm(batch_norm=0.1).after_update(model)
    assert all(torch.equal(one, torch.ones(4)) for name, one in model.named_parameters() if "weight" in name)


def test_with_both_limits_no_layer_stretches_more_than_their_product() -> None:
    """What the limit on the layer alone does not give: a bound on layer and batch norm together."""
    layer = nn.Conv2d(3, 8, 1)
    with torch.no_grad():
        layer.weight.copy_(random((8, 3, 1, 1)))
    model = nn.Sequential(layer, nn.BatchNorm2d(8, momentum=1.0))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for limits, bounded in (({"limit": 0.5}, False), ({"limit": 0.5, "batch_norm": 0.6}, True)):
        regulariser = SpectralNorm(**limits)
        for _ in range(3):
            model.train()(images)
            regulariser.after_update(model)
        one, other = images[:2], images[2:]
        with torch.no_grad():
            moved = (model.eval()(one) - model(other)).norm() / (one - other).norm()
        (stretch,) = torch.autograd.functional.jacobian(model, (one[:1, :, :1, :1],))  # type: ignore[no-untyped-call]
        jacobian = stretch.reshape(8, 3)
        assert (sigma(jacobian) <= 0.3 * (1 + 1e-4)) == bounded
        assert moved <= sigma(jacobian) * (1 + 1e-4)


def test_nothing_waits_for_the_device() -> None:
    """Tensors without values refuse whatever the host would have to wait for."""
    with FakeTensorMode():
        layer = nn.Linear(300, 10)
        model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), layer)
        SpectralNorm(batch_norm=1.0).after_update(model)
        largest = largest_singular_value(layer.weight)
        with pytest.raises(DataDependentOutputException):
            largest.item()
