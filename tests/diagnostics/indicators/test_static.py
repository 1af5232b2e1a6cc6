"""Static indicators against closed forms of linear and quadratic models."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.curvature import curvature
from reinforced.diagnostics.indicators.gradient_cosine import gradient_cosine
from reinforced.diagnostics.indicators.gradient_norm import gradient_norm
from reinforced.diagnostics.indicators.local_linearity import local_linearity
from reinforced.diagnostics.indicators.logit_margin import logit_margin
from reinforced.diagnostics.indicators.logit_scale import logit_scale
from reinforced.diagnostics.indicators.saturation import FLOAT32_NINES, saturation
from reinforced.errors import ReinforcedError

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.2)


def close(found: Tensor, expected: Tensor | float, rtol: float = 1e-5) -> None:
    assert found.dtype == torch.float64
    wanted = torch.as_tensor(expected, dtype=torch.float64).expand_as(found)
    torch.testing.assert_close(found, wanted, rtol=rtol, atol=1e-6)


def residual(weight: Tensor, bias: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """``p`` and ``p - e_y``, in float64."""
    z = images.double().flatten(1) @ weight.double().T + bias
    p = torch.softmax(z, dim=1)
    return p, p - nn.functional.one_hot(labels, len(bias))


def test_gradient_norm_of_a_linear_model(
    linear: nn.Module, weight: Tensor, bias: Tensor, images: Tensor, labels: Tensor
) -> None:
    _, off = residual(weight, bias, images, labels)
    expected = off @ weight.double()
    found = gradient_norm(linear, images, labels, batch=3)
    close(found.values, expected.norm(dim=1))
    close(gradient_norm(linear, images, labels, norm="l1").values, expected.abs().sum(dim=1))
    assert (found.forwards, found.gradients) == (7, 7)
    assert found.name == "gradient_norm(ce)"


def test_gradient_norm_of_a_quadratic(quadratic: nn.Module, a: Tensor, images: Tensor, ones: Tensor) -> None:
    found = gradient_norm(quadratic, images, ones, loss="margin")
    close(found.values, (a * images.flatten(1)).double().norm(dim=1))


def test_tiny_gradients_have_lengths_and_vanished_ones_are_counted(images: Tensor) -> None:
    class Confident(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = 1e-30 * x.flatten(1).sum(dim=1)
            return torch.stack([first, torch.zeros_like(first)], dim=1)

    class Certain(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = 1e4 + x.flatten(1).sum(dim=1)
            return torch.stack([first, torch.zeros_like(first)], dim=1)

    zeros = torch.zeros(7, dtype=torch.int64)
    found = gradient_norm(Confident(), images, zeros, loss="margin").values
    expected = torch.full_like(found, 1e-30 * math.sqrt(12))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    vanished = gradient_norm(Certain(), images, zeros)
    assert vanished.summary["zeros"] == 1
    assert gradient_norm(Certain(), images, zeros, loss="margin").summary["zeros"] == 0
    assert gradient_cosine(Certain(), images, zeros, LINF).summary["count"] == 0
    assert curvature(Certain(), images, zeros).summary["mean"] is None


def test_gradients_below_the_released_floor_are_counted(images: Tensor) -> None:
    class Steep(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = 25 * x[:, 0, 0, 0]
            return torch.stack([first, torch.zeros_like(first)], dim=1)

    zeros = torch.zeros(7, dtype=torch.int64)
    lengths = 25 * torch.sigmoid(-25 * images[:, 0, 0, 0].double())
    expected = float((lengths < 128e-6).double().mean())
    assert 0 < expected < 1
    assert gradient_norm(Steep(), images, zeros).summary["floored"] == expected
    assert "floored" not in gradient_norm(Steep(), images, zeros, loss="margin").summary


def test_a_linear_margin_has_one_direction_no_error_no_curvature(
    linear: nn.Module, images: Tensor, weight: Tensor
) -> None:
    two = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    labels = torch.zeros(7, dtype=torch.int64)
    close(gradient_cosine(two, images, labels, LINF, loss="margin").values, 1.0)
    close(local_linearity(two, images, labels, LINF, loss="margin").values, 0.0)
    close(curvature(two, images, labels, loss="margin").values, 0.0)


def test_curvature_of_a_linear_models_cross_entropy(
    linear: nn.Module, weight: Tensor, bias: Tensor, images: Tensor, labels: Tensor
) -> None:
    """The Hessian is ``W^T (diag p - p p^T) W``."""
    p, off = residual(weight, bias, images, labels)
    v = nn.functional.normalize(off @ weight.double(), dim=1) @ weight.double().T
    expected = (p * v * v).sum(dim=1) - (p * v).sum(dim=1).square()
    found = curvature(linear, images, labels)
    assert found.note == "double backward"
    close(found.values, expected)
    close(curvature(linear, images, labels, method="difference").values, expected, rtol=1e-3)


def test_curvature_of_a_quadratic(quadratic: nn.Module, a: Tensor, images: Tensor, ones: Tensor) -> None:
    slope = (a * images.flatten(1)).double()
    expected = (a * slope.square()).sum(dim=1) / slope.square().sum(dim=1)
    close(curvature(quadratic, images, ones, loss="margin").values, expected)
    difference = curvature(quadratic, images, ones, loss="margin", method="difference")
    assert difference.note == "central difference over 0.02"
    close(difference.values, expected, rtol=1e-4)


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        squares: Tensor = x.square()
        return squares

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gradient: Tensor = 2 * x * grad
        return gradient


def test_curvature_falls_back_where_there_is_no_second_derivative(
    quadratic: nn.Module, a: Tensor, images: Tensor, ones: Tensor
) -> None:
    class OnceDifferentiable(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = (_Once.apply(x.flatten(1)) * a).sum(dim=1) / 2
            return torch.stack([first, torch.zeros_like(first)], dim=1)

    found = curvature(OnceDifferentiable(), images, ones)
    assert found.note.startswith("central difference")
    exact = curvature(quadratic, images, ones)
    assert exact.note == "double backward"
    close(found.values, exact.values, rtol=1e-3)


def test_cosine_of_a_quadratic(quadratic: nn.Module, a: Tensor, images: Tensor, ones: Tensor) -> None:
    """The draws do not depend on the batch; the cosine stays above the bound for the ball."""
    whole = gradient_cosine(quadratic, images, ones, LINF, loss="margin", neighbours=3)
    parts = gradient_cosine(quadratic, images, ones, LINF, loss="margin", neighbours=3, batch=2)
    torch.testing.assert_close(whole.values, parts.values)
    here = (a * images.flatten(1)).double()
    # The farthest neighbour moves the gradient by |a| epsilon at most: sin <= that over its length.
    sine = 0.1 * a.double().norm() / here.norm(dim=1)
    assert (whole.values >= (1 - sine.square()).sqrt()).all()
    assert (whole.values < 1).all()
    assert whole.forwards == 4 * 7


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_linearity_error_of_a_quadratic(
    quadratic: nn.Module, a: Tensor, images: Tensor, ones: Tensor, threat: ThreatModel
) -> None:
    """``d . A d / 2``: all eigenvalues at a corner of the cube, the largest at a pole of the sphere."""
    found = local_linearity(quadratic, images, ones, threat, loss="margin", steps=60).values
    if threat.norm == "linf":
        close(found, 0.1**2 * float(a.sum()) / 2, rtol=1e-4)
    else:
        largest = 0.2**2 * float(a.max()) / 2
        assert (found <= largest * (1 + 1e-4)).all()
        # Ascent turns to the leading eigenvector slowly.
        assert (found >= 0.7 * largest).all()


def test_logits(linear: nn.Module, weight: Tensor, bias: Tensor, images: Tensor, labels: Tensor) -> None:
    z = images.double().flatten(1) @ weight.double().T + bias
    own = z.gather(1, labels[:, None])[:, 0]
    rival = torch.stack([row[torch.arange(4) != y].max() for row, y in zip(z, labels, strict=True)])
    close(logit_margin(linear, images, labels).values, own - rival)
    close(logit_scale(linear, images, labels).values, z.amax(1) - z.mean(1))
    p = torch.softmax(z, dim=1).amax(dim=1)
    close(saturation(linear, images, labels).values, -torch.log10(1 - p), rtol=1e-4)


def test_saturation_has_no_ceiling(images: Tensor, ones: Tensor) -> None:
    """A lead of d gives 1 - p = 1 / (1 + e^d), 434 nines at d = 1,000."""

    class Leading(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1000.0]]).repeat(len(x), 1)

    found = saturation(Leading(), images, ones)
    close(found.values, 1000 / math.log(10))
    assert found.summary["certain_in_float32"] == 1
    assert torch.tensor(1 - 0.9 * 10**-FLOAT32_NINES, dtype=torch.float32) == 1
    assert torch.tensor(1 - 1.1 * 10**-FLOAT32_NINES, dtype=torch.float32) < 1


def test_the_model_is_as_it_was(images: Tensor) -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(), nn.Linear(12, 3)).train()
    labels = torch.zeros(7, dtype=torch.int64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = gradient_norm(model, images, labels)
    curvature(model, images, labels)
    assert torch.equal(first.values, gradient_norm(model, images, labels).values)
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_what_is_no_image_is_refused(linear: nn.Module, images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ReinforcedError, match=r"\[0,1\]"):
        gradient_norm(linear, images + 1, labels)
    with pytest.raises(ReinforcedError, match="classes"):
        gradient_norm(linear, images, labels + 3)
    with pytest.raises(ReinforcedError, match="batch 0"):
        gradient_norm(linear, images, labels, batch=0)
