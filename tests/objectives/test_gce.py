"""Generalised cross-entropy: known values, both ends of the dial, and its gradient where p is tiny."""

from __future__ import annotations

import math

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from reinforced.objectives import GCE, CrossEntropy, ExpectedPG, Objective
from reinforced.streams import Stream

LABELS = torch.tensor([0, 4, 2, 2])
LOGITS = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def loss(objective: Objective, logits: Tensor = LOGITS, labels: Tensor = LABELS) -> Tensor:
    return objective.loss(logits, labels, None).loss


def gradient(objective: Objective, logits: Tensor = LOGITS, labels: Tensor = LABELS) -> Tensor:
    point = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(objective, point, labels), point)
    return found


def close(one: Tensor, other: Tensor, atol: float = 1e-12) -> bool:
    return torch.allclose(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize(("q", "value"), [(1, 0.75), (0.5, 1.0), (0, math.log(4))])
def test_known_values(q: float, value: float) -> None:
    logits = torch.tensor([[0.25, 0.5, 0.25]], dtype=torch.float64).log()
    terms = GCE(q=q).loss(logits, torch.tensor([0]), None)
    assert terms.loss.item() == pytest.approx(value, abs=1e-14)
    assert terms.metrics["p_correct"].item() == pytest.approx(0.25, abs=1e-14)
    assert terms.metrics["entropy"].item() == pytest.approx(1.5 * math.log(2), abs=1e-14)


def test_q_0_is_cross_entropy() -> None:
    assert close(loss(GCE(q=0)), loss(CrossEntropy()))
    assert close(gradient(GCE(q=0)), gradient(CrossEntropy()))


@pytest.mark.parametrize("q", [1e-300, 1e-45, 1e-20, 1e-12, 1e-6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_small_q_tends_to_cross_entropy(q: float, dtype: torch.dtype) -> None:
    """The relative distance is q |log p| / 2 at most: below rounding, or here below 1e-5."""
    logits = LOGITS.to(dtype)
    rounding = 1e-6 if dtype is torch.float32 else 1e-14
    tolerance = max(rounding, q * 10)
    assert loss(GCE(q=q), logits).item() == pytest.approx(loss(CrossEntropy(), logits).item(), rel=tolerance)
    assert torch.allclose(
        gradient(GCE(q=q), logits), gradient(CrossEntropy(), logits), rtol=tolerance, atol=tolerance
    )


def test_q_1_is_the_expected_loss_of_a_reward_of_1_or_0() -> None:
    p = LOGITS.softmax(1)[torch.arange(4), LABELS]
    assert close(loss(GCE(q=1)), (1 - p).mean())
    assert close(gradient(GCE(q=1)), gradient(ExpectedPG()))


def test_q_1_is_half_the_mean_absolute_error() -> None:
    error = (LOGITS.softmax(1) - torch.eye(5, dtype=torch.float64)[LABELS]).abs().sum(1).mean()
    assert close(2 * loss(GCE(q=1)), error)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.7, 1.0])
def test_gradient_is_cross_entropys_times_p_to_the_q(q: float) -> None:
    p = LOGITS.softmax(1)[torch.arange(4), LABELS]
    assert close(gradient(GCE(q=q)), p[:, None] ** q * gradient(CrossEntropy()))


@pytest.mark.parametrize("q", [0.0, 0.1, 0.7, 1.0])
def test_gradients_against_finite_differences(q: float) -> None:
    point = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda at: loss(GCE(q=q), at), (point,))
    assert torch.autograd.gradgradcheck(lambda at: loss(GCE(q=q), at), (point,))


@pytest.mark.parametrize("q", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("margin", [10.0, 30.0, 60.0])
def test_float32_keeps_the_gradient_of_an_improbable_label(q: float, margin: float) -> None:
    logits, labels = torch.tensor([[0.0, margin, 0.0]]), torch.tensor([0])
    exactly = gradient(GCE(q=q), logits.double(), labels)
    assert torch.allclose(gradient(GCE(q=q), logits, labels).double(), exactly, rtol=2e-5, atol=1e-30)
    assert exactly[0, 1] > 0


def test_nothing_is_sampled() -> None:
    stream = Stream(0, "exploration")
    before = stream.get_state()
    assert GCE().rollout(LOGITS, LABELS, stream) is None
    assert torch.equal(stream.get_state(), before)


@pytest.mark.parametrize(("q", "reason"), [(-0.1, "greater than or equal to 0"), (1.1, "less than or equal")])
def test_q_out_of_range_is_refused(q: float, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        GCE(q=q)
