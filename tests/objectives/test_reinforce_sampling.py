"""REINFORCE end to end: the mean of many sampled gradients against the exact one, with known power.

Each case draws 200,000 samples of each image in 200 independent rollouts. The tolerance is 5 standard errors
of the mean in every element; the standard error must be so small that a bias of 10 % of the gradient's
largest element would be 10 of them, so that it cannot pass.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from reinforced.objectives import ExpectedPG, Reinforce
from reinforced.streams import Stream

LABELS = torch.tensor([0, 2])
LOGITS = torch.tensor([[0.8, -0.4, 0.1], [0.5, 0.2, -0.6]])
ROLLOUTS, SAMPLES = 200, 1000


def exact(objective: Reinforce) -> Tensor:
    target = ExpectedPG(
        **{name: getattr(objective, name) for name in ExpectedPG.model_fields if name != "kind"}
    )
    logits = LOGITS.double().requires_grad_()
    (gradient,) = torch.autograd.grad(target.loss(logits, LABELS, None).loss, logits)
    return gradient


def sampled(objective: Reinforce) -> tuple[Tensor, Tensor]:
    """Mean of the sampled gradients and its standard error, elementwise."""
    stream = Stream(0, "exploration")
    logits = LOGITS.clone().requires_grad_()
    found: list[Tensor] = []
    for _ in range(ROLLOUTS):
        rollout = objective.rollout(logits.detach(), LABELS, stream)
        found.extend(torch.autograd.grad(objective.loss(logits, LABELS, rollout).loss, logits))
    gradients = torch.stack(found).double()
    return gradients.mean(0), gradients.std(0) / ROLLOUTS**0.5


def agrees(mean: Tensor, error: Tensor, reference: Tensor) -> bool:
    return bool(((mean - reference).abs() <= 5 * error + 1e-7).all())


UNBIASED: list[dict[str, Any]] = [
    {},
    {"exploration": 0.2},
    {"exploration": 0.2, "coin": "batch", "log_floor": 1e-6},
    {"exploration": 0.2, "importance": True},
    {"exploration": 0.2, "importance": True, "coin": "batch"},
    {"action": "argmax", "exploration": 0.2},
    {"action": "argmax", "exploration": 0.2, "coin": "batch"},
    {"action": "argmax", "exploration": 0.5, "importance": True},
    {"baseline": "leave_one_out"},
    {"baseline": "leave_one_out", "exploration": 0.2, "importance": True},
    {"baseline": "leave_one_out", "exploration": 0.2, "importance": True, "coin": "batch"},
    {"reward": "plus_minus", "temperature": 1.5},
]


@pytest.mark.parametrize("settings", UNBIASED, ids=str)
def test_mean_of_samples_is_the_expected_gradient(settings: dict[str, Any]) -> None:
    objective = Reinforce(samples=SAMPLES, **settings)
    mean, error = sampled(objective)
    reference = exact(objective)
    assert agrees(mean, error, reference)
    largest = reference.abs().argmax()
    assert 0.1 * reference.flatten()[largest].abs() >= 10 * error.flatten()[largest]
    assert not agrees(mean, error, 0.9 * reference)
    assert not agrees(mean, error, 1.1 * reference)


@pytest.mark.parametrize("importance", [False, True])
def test_mean_of_samples_shows_the_batch_means_factor(importance: bool) -> None:
    objective = Reinforce(
        samples=SAMPLES, baseline="batch_mean", importance=importance, exploration=0.2 * importance
    )
    mean, error = sampled(objective)
    assert agrees(mean, error, (1 - 1 / 2) * exact(objective))
    assert not agrees(mean, error, exact(objective))
