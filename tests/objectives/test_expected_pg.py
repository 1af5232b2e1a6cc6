"""The exact policy gradient against finite differences and the closed forms it must equal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.objectives import CrossEntropy, ExpectedPG, Objective
from reinforced.streams import Stream

K = 5
LABELS = torch.tensor([0, 4, 2, 2, 1, 3])
LOGITS = 1.5 * torch.randn(6, K, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
Differences = Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]


def gradient(objective: Objective, logits: Tensor = LOGITS) -> Tensor:
    return gradient_of(lambda at: objective.loss(at, LABELS, None).loss, logits)


def gradient_of(function: Callable[[Tensor], Tensor], logits: Tensor = LOGITS) -> Tensor:
    point = logits.clone().requires_grad_()
    (result,) = torch.autograd.grad(function(point), point)
    return result


def p_label(logits: Tensor, temperature: float = 1) -> Tensor:
    return (logits / temperature).softmax(1)[torch.arange(len(LABELS)), LABELS]


def close(one: Tensor, other: Tensor, atol: float = 1e-12) -> bool:
    return torch.allclose(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize(
    ("settings", "weights", "rewards"),
    [
        ({}, [0.2, 0.3, 0.5], [0, 1, 0]),
        ({"reward": "plus_minus"}, [0.2, 0.3, 0.5], [-1, 1, -1]),
        ({"exploration": 0.3, "reward": "plus_minus"}, [0.24, 0.31, 0.45], [-1, 1, -1]),
        ({"action": "argmax", "reward": (2, -1)}, [0, 0, 1], [-1, 2, -1]),
        ({"importance": True, "exploration": 0.3, "reward": (2, 1)}, [0.2, 0.3, 0.5], [1, 2, 1]),
    ],
)
def test_known_values(settings: dict[str, Any], weights: list[float], rewards: list[float]) -> None:
    pi = [0.2, 0.3, 0.5]
    logits = torch.tensor([pi], dtype=torch.float64).log()
    terms = ExpectedPG(**settings).loss(logits, torch.tensor([1]), None)
    expected = -sum(w * r * math.log(p) for w, r, p in zip(weights, rewards, pi, strict=True))
    assert terms.loss.item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "reward"),
    [
        ({}, 0.3),
        ({"reward": "plus_minus"}, -0.4),
        ({"exploration": 0.3}, 0.31),
        ({"exploration": 0.3, "importance": True}, 0.31),
        ({"action": "argmax", "exploration": 0.3, "reward": (2, -1)}, -0.7),
    ],
)
def test_the_logged_reward_is_the_behaviours(settings: dict[str, Any], reward: float) -> None:
    logits = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64).log()
    metrics = ExpectedPG(**settings).loss(logits, torch.tensor([1]), None).metrics
    assert metrics["reward"].item() == pytest.approx(reward, abs=1e-12)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"reward": (1, 0.25)},
    {"reward": "plus_minus", "exploration": 0.2},
    {"reward": "plus_minus", "exploration": 0.2, "importance": True},
    {"action": "argmax", "reward": "plus_minus"},
    {"action": "argmax", "exploration": 0.2, "importance": True},
    {"temperature": 2.5, "exploration": 0.2},
    {"log_floor": 1e-2, "exploration": 0.1, "reward": "plus_minus"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gradient_against_finite_differences_with_the_weights_held(
    settings: dict[str, Any], differences: Differences
) -> None:
    objective = ExpectedPG(**settings)
    right, wrong = objective.reward
    rewards = torch.full((6, K), wrong, dtype=torch.float64).scatter(1, LABELS[:, None], right)
    pi = (LOGITS / objective.temperature).softmax(1)
    base = F.one_hot(pi.argmax(1), K).double() if objective.action == "argmax" else pi
    held = pi if objective.importance else (1 - objective.exploration) * base + objective.exploration / K

    def surrogate(at: Tensor) -> Tensor:
        policy = (at / objective.temperature).softmax(1)
        return -(held * rewards * (policy + objective.log_floor).log()).sum(1).mean()

    assert objective.loss(LOGITS, LABELS, None).loss.item() == pytest.approx(
        surrogate(LOGITS).item(), abs=1e-12
    )
    assert close(gradient(objective), differences(surrogate, LOGITS), atol=1e-9)


def test_on_policy_gradient_is_that_of_one_minus_p(differences: Differences) -> None:
    numeric = differences(lambda at: (1 - p_label(at)).mean(), LOGITS)
    assert close(gradient(ExpectedPG()), numeric, atol=1e-9)
    assert close(gradient(ExpectedPG()), gradient_of(lambda at: (1 - p_label(at)).mean()))


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_is_part_of_the_policy(temperature: float) -> None:
    expected = gradient_of(lambda at: (1 - p_label(at, temperature)).mean())
    assert close(gradient(ExpectedPG(temperature=temperature)), expected)


@pytest.mark.parametrize("exploration", [0.1, 0.5])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_uncorrected_exploration_mixes_in_cross_entropy(exploration: float, temperature: float) -> None:
    def mixture(at: Tensor) -> Tensor:
        p = p_label(at, temperature)
        return ((1 - exploration) * (1 - p) - exploration / K * p.log()).mean()

    objective = ExpectedPG(exploration=exploration, temperature=temperature)
    assert close(gradient(objective), gradient_of(mixture))


def test_plus_minus_on_policy_is_exactly_twice() -> None:
    single = LOGITS.float()
    double = gradient(ExpectedPG(reward="plus_minus"), LOGITS)
    assert close(double, 2 * gradient(ExpectedPG(), LOGITS))
    assert torch.allclose(
        gradient(ExpectedPG(reward="plus_minus"), single), 2 * gradient(ExpectedPG(), single), atol=1e-7
    )


def test_on_policy_only_the_difference_of_rewards_counts() -> None:
    assert close(gradient(ExpectedPG(reward=(5, 2))), 3 * gradient(ExpectedPG()))


@pytest.mark.parametrize(
    ("action", "exploration"), [("sampled", 0.0), ("sampled", 0.1), ("sampled", 0.5), ("argmax", 0.1)]
)
@pytest.mark.parametrize("reward", [(1, 0), (1, -1), (0.5, -2)])
def test_importance_correction_follows_the_policys_expected_reward(
    action: Any, exploration: float, reward: tuple[float, float]
) -> None:
    right, wrong = reward

    def negative_reward(at: Tensor) -> Tensor:
        p = p_label(at)
        return -(right * p + wrong * (1 - p)).mean()

    objective = ExpectedPG(reward=reward, action=action, exploration=exploration, importance=True)
    assert close(gradient(objective), gradient_of(negative_reward))


def test_uncorrected_exploration_with_a_negative_reward_pushes_wrong_classes_without_end() -> None:
    """At p_y -> 1 the gradient on a wrong logit tends to e/K, not to 0: their log-probabilities diverge."""
    logits = 30 * F.one_hot(LABELS, K).double()
    pushed = gradient(ExpectedPG(reward="plus_minus", exploration=0.2), logits) * len(LABELS)
    wrong = pushed[F.one_hot(LABELS, K) == 0]
    assert close(wrong, torch.full_like(wrong, 0.2 / K), atol=1e-9)
    assert gradient(ExpectedPG(exploration=0.2), logits).abs().max() < 1e-9


@pytest.mark.parametrize("exploration", [0.0, 0.2])
def test_argmax_is_cross_entropy_on_the_images_that_earn(exploration: float) -> None:
    hit = (LOGITS.argmax(1) == LABELS).double()
    assert 0 < hit.mean() < 1
    weight = (1 - exploration) * hit + exploration / K
    expected = gradient_of(lambda at: -(weight * p_label(at).log()).mean())
    assert close(gradient(ExpectedPG(action="argmax", exploration=exploration)), expected)


def test_log_floor_as_released_damps_improbable_classes() -> None:
    """The factor on each image's gradient is p / (p + floor)."""
    logits = torch.tensor([[0.0, 14.0, 0, 0, 0]], dtype=torch.float64).repeat(6, 1)
    p = p_label(logits)
    floored = gradient(ExpectedPG(log_floor=1e-6), logits)
    assert close(floored, gradient(ExpectedPG(), logits) * (p / (p + 1e-6))[:, None], atol=1e-15)
    assert (p / (p + 1e-6)).min() < 0.5


def test_every_gradient_row_sums_to_zero() -> None:
    for settings in SETTINGS:
        assert gradient(ExpectedPG(**settings)).sum(1).abs().max() < 1e-12


def test_gradient_is_cross_entropys_times_p() -> None:
    assert close(gradient(ExpectedPG()), p_label(LOGITS)[:, None] * gradient(CrossEntropy()))


def test_nothing_is_sampled() -> None:
    stream = Stream(0, "exploration")
    before = stream.get_state()
    assert ExpectedPG(exploration=0.5).rollout(LOGITS, LABELS, stream) is None
    assert torch.equal(stream.get_state(), before)
