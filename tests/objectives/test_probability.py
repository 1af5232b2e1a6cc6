"""1 - p and log p in float32, where the obvious forms lose the small ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from reinforced.objectives.probability import describe, log_p_label, one_minus_exp

LOG_P = [0.0, -1e-7, -1e-3, -0.69, -0.7, -2.0, -20.0, -60.0, -80.0]


def value_and_slope(log_p: float, dtype: torch.dtype) -> tuple[float, float]:
    point = torch.tensor(log_p, dtype=dtype, requires_grad=True)
    value = one_minus_exp(point)
    (slope,) = torch.autograd.grad(value, point)
    return value.item(), slope.item()


@pytest.mark.parametrize("log_p", LOG_P)
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float32, 2e-7), (torch.float64, 4e-16)])
def test_value_and_gradient_are_accurate_to_rounding(
    log_p: float, dtype: torch.dtype, rounding: float
) -> None:
    exactly = torch.tensor(log_p, dtype=dtype).item()
    value, slope = value_and_slope(log_p, dtype)
    assert value == pytest.approx(-math.expm1(exactly), rel=rounding, abs=0)
    assert slope == pytest.approx(-math.exp(exactly), rel=rounding * (1 + abs(log_p)), abs=0)


def test_the_plain_form_would_lose_the_gradient_of_a_small_probability() -> None:
    point = torch.tensor(-20.0, requires_grad=True)
    (plain,) = torch.autograd.grad(-torch.expm1(point), point)
    assert plain.item() == 0
    assert value_and_slope(-20.0, torch.float32)[1] == pytest.approx(-math.exp(-20), rel=1e-6)


def test_an_underflowing_probability_is_none_at_all() -> None:
    assert value_and_slope(-2e4, torch.float32) == (1, 0)


def test_first_and_second_derivative_against_finite_differences() -> None:
    point = torch.tensor([-0.1, -0.5, -0.9, -3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(one_minus_exp, (point,))
    assert torch.autograd.gradgradcheck(one_minus_exp, (point,))


def test_log_p_is_that_of_each_images_label() -> None:
    pi = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], dtype=torch.float64)
    found: Tensor = log_p_label(pi.log() + 7, torch.tensor([1, 0]))
    assert found.exp().tolist() == pytest.approx([0.3, 0.6], abs=1e-14)


def test_metrics_by_hand() -> None:
    pi = torch.tensor([[0.25, 0.25, 0.5], [1.0, 0, 0]], dtype=torch.float64, requires_grad=True)
    metrics = describe(pi, torch.tensor([2, 1]))
    assert metrics["p_correct"].item() == 0.25
    assert metrics["entropy"].item() == pytest.approx(0.75 * math.log(2), abs=1e-14)
    assert not any(value.requires_grad for value in metrics.values())
