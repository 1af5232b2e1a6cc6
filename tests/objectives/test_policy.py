"""The policy, the behaviour around it, the reward, and the settings that are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from reinforced.objectives import PPO, ExpectedPG, Reinforce
from reinforced.objectives.base import at_least_float32

PI = torch.tensor([[0.2, 0.3, 0.5]], dtype=torch.float64)
LABEL = torch.tensor([1])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_temperature_divides_the_logits(temperature: float) -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pi = ExpectedPG(temperature=temperature).log_policy(logits).exp()
    weights = (logits / temperature).exp()
    assert torch.allclose(pi, weights / weights.sum(1, keepdim=True), rtol=0, atol=1e-14)


def test_log_floor_is_added_inside_the_logarithm() -> None:
    log_pi = ExpectedPG().log_policy(torch.tensor([[0.0, 2e4]]))
    assert log_pi.tolist() == [[-2e4, 0]]
    assert ExpectedPG().floored(log_pi) is log_pi
    floored = ExpectedPG(log_floor=1e-6).floored(log_pi)
    assert floored[0, 0].item() == pytest.approx(math.log(1e-6))
    assert floored[0, 1].item() == pytest.approx(0, abs=2e-6)


@pytest.mark.parametrize(
    ("action", "exploration", "expected"),
    [
        ("sampled", 0.0, [0.2, 0.3, 0.5]),
        ("sampled", 0.3, [0.24, 0.31, 0.45]),
        ("argmax", 0.0, [0.0, 0.0, 1.0]),
        ("argmax", 0.3, [0.1, 0.1, 0.8]),
    ],
)
def test_behaviour_by_hand(action: Any, exploration: float, expected: list[float]) -> None:
    objective = ExpectedPG(action=action, exploration=exploration)
    assert objective.behaviour(PI)[0].tolist() == pytest.approx(expected, abs=1e-14)


def test_argmax_is_of_each_image_and_takes_the_first_of_equals() -> None:
    base = ExpectedPG(action="argmax").base(torch.tensor([[0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]))
    assert base.tolist() == [[0, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [("zero_one", [0, 1, 0]), ("plus_minus", [-1, 1, -1]), ((0.5, -2), [-2, 0.5, -2])],
)
def test_reward_by_name_or_pair(reward: Any, expected: list[float]) -> None:
    objective = ExpectedPG(reward=reward)
    assert objective.rewards(torch.tensor([[0], [1], [2]]), LABEL)[:, 0].tolist() == expected


def test_metrics_describe_the_policy_at_its_temperature() -> None:
    metrics = ExpectedPG(temperature=2).loss(2 * PI.log(), LABEL, None).metrics
    assert metrics["p_correct"].item() == pytest.approx(0.3, abs=1e-12)
    entropy = -sum(p * math.log(p) for p in (0.2, 0.3, 0.5))
    assert metrics["entropy"].item() == pytest.approx(entropy, abs=1e-12)


def test_half_precision_is_widened_and_double_is_kept() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        assert at_least_float32(torch.zeros(1, dtype=dtype)).dtype is torch.float32
    assert at_least_float32(torch.zeros(1, dtype=torch.float64)).dtype is torch.float64


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"reward": "one_zero"}, "pair of numbers or one of zero_one, plus_minus"),
        ({"reward": [0, 1]}, "right class must earn more than a wrong one"),
        ({"reward": [1, 1]}, "right class must earn more than a wrong one"),
        ({"reward": [1, float("-inf")]}, "finite number"),
        ({"reward": [1]}, "Field required"),
        ({"importance": True, "action": "argmax"}, "importance correction of argmax actions needs"),
        ({"exploration": 1.0}, "less than 1"),
        ({"exploration": -0.1}, "greater than or equal to 0"),
        ({"temperature": 0}, "greater than 0"),
        ({"log_floor": -1e-6}, "greater than or equal to 0"),
        ({"entropy_bonus": -0.01}, "greater than or equal to 0"),
        ({"entropy_bonus": float("inf")}, "finite number"),
        ({"action": "greedy"}, "'sampled' or 'argmax'"),
        ({"epsilon": 0.1}, "Extra inputs are not permitted"),
    ],
)
@pytest.mark.parametrize("objective", [ExpectedPG, Reinforce, PPO])
def test_refused_settings_give_their_reason(
    objective: type[ExpectedPG | Reinforce | PPO], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        objective(**settings)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"baseline": "leave_one_out"}, "leave_one_out needs samples of at least 2"),
        ({"samples": 0}, "greater than or equal to 1"),
        ({"coin": "epoch"}, "'image' or 'batch'"),
        ({"baseline": "mean"}, "'none', 'batch_mean' or 'leave_one_out'"),
    ],
)
@pytest.mark.parametrize("objective", [Reinforce, PPO])
def test_refused_settings_of_sampling_give_their_reason(
    objective: type[Reinforce | PPO], settings: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        objective(**settings)


def test_settings_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        ExpectedPG().exploration = 0.5  # type: ignore[misc]
