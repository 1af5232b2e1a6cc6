"""The entropy bonus of the objectives with a reward: its closed form, and the optimum it leads to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from reinforced.objectives import PPO, ExpectedPG, Reinforce
from reinforced.streams import Stream

LABELS = torch.tensor([0, 4, 2, 2])
LOGITS = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KINDS: list[Callable[..., ExpectedPG | Reinforce | PPO]] = [ExpectedPG, Reinforce, PPO]
every_kind = pytest.mark.parametrize("kind", KINDS)


def loss_and_gradient(objective: ExpectedPG | Reinforce | PPO, logits: Tensor) -> tuple[Tensor, Tensor]:
    rollout = objective.rollout(logits.detach(), LABELS, Stream(0, "exploration"))
    point = logits.clone().requires_grad_()
    loss = objective.loss(point, LABELS, rollout).loss
    (gradient,) = torch.autograd.grad(loss, point)
    return loss.detach(), gradient


@every_kind
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize(
    "settings", [{}, {"exploration": 0.3}, {"action": "argmax"}, {"log_floor": 0.1}], ids=str
)
def test_loss_and_gradient_in_closed_form(kind: Any, temperature: float, settings: dict[str, Any]) -> None:
    """It is the entropy of the policy itself, whatever the behaviour and the floor."""
    plain = loss_and_gradient(kind(temperature=temperature, **settings), LOGITS)
    bonus = loss_and_gradient(kind(temperature=temperature, entropy_bonus=0.3, **settings), LOGITS)
    log_pi = (LOGITS / temperature).log_softmax(1)
    entropy = -(log_pi.exp() * log_pi).sum(1)
    assert torch.allclose(bonus[0] - plain[0], -0.3 * entropy.mean(), rtol=0, atol=1e-12)
    # dH / dz = -pi (log pi + H) / T
    added = 0.3 * log_pi.exp() * (log_pi + entropy[:, None]) / temperature / len(LABELS)
    assert torch.allclose(bonus[1] - plain[1], added, rtol=0, atol=1e-12)


def test_gradient_against_finite_differences() -> None:
    """A reward of +-0 is refused, so the difference of two losses is what is checked."""
    plain, bonus = ExpectedPG(), ExpectedPG(entropy_bonus=0.7)

    def difference(at: Tensor) -> Tensor:
        return bonus.loss(at, LABELS, None).loss - plain.loss(at, LABELS, None).loss

    point = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(difference, (point,))
    assert torch.autograd.gradgradcheck(difference, (point,))


def test_the_optimum_is_the_rewards_softmax() -> None:
    """sum_a pi r + beta H is greatest at pi = softmax(r / beta) (Williams & Peng 1991)."""
    rewards = torch.eye(5, dtype=torch.float64)[LABELS]
    _, gradient = loss_and_gradient(ExpectedPG(entropy_bonus=0.25), rewards / 0.25)
    assert gradient.abs().max() < 1e-14
    _, elsewhere = loss_and_gradient(ExpectedPG(entropy_bonus=0.25), rewards / 0.2)
    assert elsewhere.abs().max() > 1e-3


@every_kind
def test_a_certain_policy_has_a_finite_gradient(kind: Any) -> None:
    """Probabilities that underflow to 0 have an infinite log, but no share in the entropy."""
    logits = 1e4 * torch.eye(5)[LABELS]
    loss, gradient = loss_and_gradient(kind(entropy_bonus=1.0), logits)
    assert torch.isfinite(loss)
    assert torch.equal(gradient, torch.zeros_like(gradient))
