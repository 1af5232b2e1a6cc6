"""Cross-entropy against hand-worked values and finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from reinforced.objectives import CrossEntropy
from reinforced.streams import Stream

QUARTER = torch.tensor([[0.25, 0.25, 0.5]], dtype=torch.float64).log()


def random_logits(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize(("label", "value"), [(0, math.log(4)), (2, math.log(2))])
def test_known_values(label: int, value: float) -> None:
    terms = CrossEntropy().loss(QUARTER, torch.tensor([label]), None)
    assert terms.loss.item() == pytest.approx(value, abs=1e-12)
    assert terms.metrics["p_correct"].item() == pytest.approx(math.exp(-value), abs=1e-12)
    assert terms.metrics["entropy"].item() == pytest.approx(1.5 * math.log(2), abs=1e-12)


def test_uniform_policy_has_log_k_nats() -> None:
    terms = CrossEntropy().loss(torch.zeros(2, 7), torch.tensor([0, 6]), None)
    assert terms.loss.item() == pytest.approx(math.log(7))
    assert terms.metrics["entropy"].item() == pytest.approx(math.log(7))


def test_loss_is_the_mean_over_images() -> None:
    logits, labels = random_logits(), torch.tensor([0, 4, 2, 2])
    singles = [CrossEntropy().loss(logits[i : i + 1], labels[i : i + 1], None).loss for i in range(4)]
    assert CrossEntropy().loss(logits, labels, None).loss.item() == pytest.approx(
        torch.stack(singles).mean().item(), abs=1e-12
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_smoothed_targets_and_their_gradient(smoothing: float) -> None:
    logits, labels = random_logits().requires_grad_(), torch.tensor([0, 4, 2, 2])
    target = (1 - smoothing) * torch.eye(5, dtype=torch.float64)[labels] + smoothing / 5
    loss = CrossEntropy(label_smoothing=smoothing).loss(logits, labels, None).loss
    expected = -(target * logits.detach().log_softmax(1)).sum(1).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)
    (gradient,) = torch.autograd.grad(loss, logits)
    closed_form = (logits.detach().softmax(1) - target) / 4
    assert torch.allclose(gradient, closed_form, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradient_against_finite_differences(
    smoothing: float, differences: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]
) -> None:
    objective, labels = CrossEntropy(label_smoothing=smoothing), torch.tensor([0, 4, 2, 2])
    logits = random_logits().requires_grad_()
    (gradient,) = torch.autograd.grad(objective.loss(logits, labels, None).loss, logits)
    numeric = differences(lambda at: objective.loss(at, labels, None).loss, logits.detach())
    assert torch.allclose(gradient, numeric, rtol=0, atol=1e-9)


def test_nothing_is_sampled() -> None:
    stream = Stream(0, "exploration")
    before = stream.get_state()
    assert CrossEntropy().rollout(torch.zeros(2, 3), torch.tensor([0, 1]), stream) is None
    assert torch.equal(stream.get_state(), before)


@pytest.mark.parametrize(("smoothing", "reason"), [(-0.1, "greater than or equal to 0"), (1, "less than 1")])
def test_smoothing_out_of_range_is_refused(smoothing: float, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        CrossEntropy(label_smoothing=smoothing)
