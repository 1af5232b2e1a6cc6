"""PPO: its first gradient, what the clip cuts off, and what several updates follow."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from reinforced.objectives import PPO, ExpectedPG, Objective, Reinforce, Rollout
from reinforced.objectives.ppo import STEEPEST, exp_with_tangent
from reinforced.streams import Stream

B, K = 2, 3
LABELS = torch.tensor([0, 2])
OLD = torch.tensor([[0.8, -0.4, 0.1], [0.5, 0.2, -0.6]], dtype=torch.float64)
NEW = torch.tensor([[1.1, -0.1, -0.2], [0.3, 0.4, -0.55]], dtype=torch.float64)
IMAGES = torch.arange(B)


def gradient(
    objective: Objective, logits: Tensor, rollout: Rollout | None, labels: Tensor = LABELS
) -> Tensor:
    point = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(objective.loss(point, labels, rollout).loss, point)
    return found


SETTINGS: list[dict[str, Any]] = [
    {},
    {"reward": "plus_minus", "samples": 3},
    {"samples": 4, "baseline": "leave_one_out"},
    {"baseline": "batch_mean"},
    {"temperature": 0.7, "entropy_bonus": 0.1},
    {"exploration": 0.3},
    {"exploration": 0.3, "importance": True, "samples": 5},
    {"exploration": 0.3, "importance": True, "coin": "batch", "log_floor": 0.05},
    {"exploration": 0.3, "coin": "batch", "log_floor": 1e-6, "action": "argmax"},
    {"exploration": 0.9, "importance": True, "action": "argmax", "baseline": "batch_mean"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_first_gradient_is_reinforces(settings: dict[str, Any], dtype: torch.dtype) -> None:
    """Without a floor bit for bit: the ratio is exactly 1. The same actions are drawn, too."""
    generator = torch.Generator().manual_seed(1)
    logits = (2 * torch.randn(32, 10, generator=generator, dtype=torch.float64)).to(dtype)
    labels = torch.arange(32) % 10
    ppo, reinforce = PPO(**settings), Reinforce(**settings)
    rollout = ppo.rollout(logits, labels, Stream(0, "exploration"))
    same = reinforce.rollout(logits, labels, Stream(0, "exploration"))
    assert torch.equal(rollout.actions, same.actions)
    found, expected = gradient(ppo, logits, rollout, labels), gradient(reinforce, logits, same, labels)
    assert expected.abs().max() > 0
    if "log_floor" in settings:
        tolerance = 1e-6 if dtype is torch.float32 else 1e-14
        assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance * 1e-2)
    else:
        assert torch.equal(found, expected)
    assert ppo.loss(logits, labels, rollout).metrics["clipped"] == 0


def taken(reward: float, ratio: float, weight: float = 1.0) -> tuple[Tensor, Rollout]:
    """One image and its action 0: the policy's log-probabilities now, and a rollout with that ratio to it."""
    log_pi = OLD[:1].log_softmax(1)
    old = (log_pi[0, 0] - math.log(ratio)).view(1, 1)
    rewards = torch.tensor([[reward]], dtype=torch.float64)
    return log_pi, Rollout(torch.zeros(1, 1, dtype=torch.int64), rewards, old - math.log(weight), old)


@pytest.mark.parametrize(
    ("advantage", "ratio", "follows"),
    [
        (1, 0.1, True),  # a good action that became rarer is pulled back
        (1, 0.79, True),
        (1, 1.0, True),
        (1, 1.19, True),
        (1, 1.21, False),
        (1, 5.0, False),
        (-1, 0.1, False),
        (-1, 0.79, False),
        (-1, 0.81, True),
        (-1, 1.0, True),
        (-1, 1.21, True),  # a bad action that became likelier is pushed back
        (-1, 5.0, True),
    ],
)
@pytest.mark.parametrize("weight", [None, 0.4, 2.5])
def test_the_clip_stops_only_the_gradient_that_leads_further_out(
    advantage: float, ratio: float, follows: bool, weight: float | None
) -> None:
    objective = PPO(clip=0.2, exploration=0.5, importance=weight is not None)
    logits, rollout = taken(advantage, ratio, weight or 1.0)
    weighted = advantage * (weight or 1.0)
    terms = objective.loss(logits, LABELS[:1], rollout)
    bounded = min(max(ratio, 0.8), 1.2)
    assert terms.loss.item() == pytest.approx(-min(ratio * weighted, bounded * weighted), abs=1e-12)
    assert terms.metrics["clipped"].item() == (0 if follows else 1)
    score = torch.eye(K, dtype=torch.float64)[:1] - logits.softmax(1)
    expected = -weighted * ratio * score if follows else torch.zeros_like(score)
    assert torch.allclose(gradient(objective, logits, rollout, LABELS[:1]), expected, rtol=0, atol=1e-12)


def every_action(objective: PPO) -> list[tuple[Tensor, Rollout]]:
    """Each action taken on both images at once: its chances under the behaviour (B,), and the rollout."""
    log_pi = objective.log_policy(OLD)
    behaviour = objective.behaviour(log_pi.exp())
    found = []
    for action in range(K):
        actions = torch.full((1, B), action)
        rewards = objective.rewards(actions, LABELS).double()
        logs = behaviour[:, action].log()[None], log_pi[:, action][None]
        found.append((behaviour[:, action], Rollout(actions, rewards, *logs)))
    return found


def expected_gradient(objective: PPO, logits: Tensor) -> Tensor:
    """The exact mean over actions of PPO's gradient at new logits; images are independent of each other."""
    total = torch.zeros_like(OLD)
    for chance, rollout in every_action(objective):
        total += chance[:, None] * gradient(objective, logits, rollout)
    return total


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"reward": "plus_minus", "temperature": 1.5},
        {"exploration": 0.3, "importance": True},
        {"exploration": 0.3, "importance": True, "action": "argmax", "reward": "plus_minus"},
    ],
    ids=str,
)
def test_inside_the_clip_range_later_updates_are_unbiased_for_the_policy_of_now(
    settings: dict[str, Any],
) -> None:
    """The ratio corrects for the policy's change: the mean is expected_pg's gradient at the new logits."""
    objective = PPO(clip=0.9, **settings)
    target = ExpectedPG(**(settings | {"action": "sampled", "exploration": 0.0, "importance": False}))
    assert torch.allclose(expected_gradient(objective, NEW), gradient(target, NEW, None), rtol=0, atol=1e-12)
    stale = ExpectedPG(**settings)
    assert not torch.allclose(gradient(stale, OLD, None), gradient(target, NEW, None), rtol=0, atol=1e-3)


def test_mean_of_samples_is_the_exact_one_with_clipping() -> None:
    objective = PPO(clip=0.1, reward="plus_minus", samples=1000)
    exactly = expected_gradient(objective, NEW)
    stream = Stream(0, "exploration")
    rollouts = [objective.rollout(OLD, LABELS, stream) for _ in range(200)]
    clipped = torch.stack([objective.loss(NEW, LABELS, each).metrics["clipped"] for each in rollouts]).mean()
    assert 0.1 < clipped < 0.9
    found = torch.stack([gradient(objective, NEW, each) for each in rollouts])
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - exactly).abs() <= 5 * error + 1e-9).all()
    assert not ((found.mean(0) - 0.9 * exactly).abs() <= 5 * error).all()


@pytest.mark.parametrize("objective", [PPO(reward=(2, -1)), PPO(entropy_bonus=0.1, log_floor=0.01)])
def test_gradient_against_finite_differences(objective: PPO) -> None:
    for _, rollout in every_action(objective):
        point = NEW.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda at, on=rollout: objective.loss(at, LABELS, on).loss, (point,))


def test_with_a_floor_the_ratio_is_of_floored_probabilities() -> None:
    _, rollout = every_action(PPO())[0]
    floor = 0.1
    pi, old = NEW.softmax(1)[:1, 0], OLD.softmax(1)[:1, 0]
    one = Rollout(*(tensor[:, :1] for tensor in vars(rollout).values()))
    found = PPO(log_floor=floor).loss(NEW[:1], LABELS[:1], one).loss
    assert found.item() == pytest.approx((-(pi + floor) / (old + floor)).item(), abs=1e-12)


def test_several_updates_on_one_rollout_raise_what_was_rewarded_and_then_stop() -> None:
    objective = PPO()
    logits = OLD.clone()
    rollout = every_action(objective)[0][1]  # right on the first image, wrong (reward 0) on the second
    for _ in range(200):
        logits -= 0.1 * gradient(objective, logits, rollout)
    ratio = logits.softmax(1)[:, 0] / OLD.softmax(1)[:, 0]
    assert 1.2 < ratio[0] < 1.25
    assert ratio[1].item() == pytest.approx(1, abs=1e-12)
    assert objective.loss(logits, LABELS, rollout).metrics["clipped"] == 0.5


def test_the_exponential_goes_on_as_its_tangent() -> None:
    x = torch.tensor([-2e4, 0, STEEPEST - 1, STEEPEST, STEEPEST + 1, 2e4], requires_grad=True)
    value = exp_with_tangent(x)
    (slope,) = torch.autograd.grad(value.sum(), x)
    top = math.exp(STEEPEST)
    expected = [0, 1, top / math.e, top, 2 * top, (2e4 - STEEPEST + 1) * top]
    assert value.tolist() == pytest.approx(expected, rel=1e-6)
    assert slope.tolist() == pytest.approx([0, 1, top / math.e, top, top, top], rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"clip": 0}, "greater than 0"),
        ({"clip": 1}, "less than 1"),
        ({"updates": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        PPO(**settings)


def test_updates_are_a_setting() -> None:
    assert (PPO().updates, PPO(updates=7).updates, Reinforce().updates) == (4, 7, 1)


def test_a_loss_without_a_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="call rollout"):
        PPO().loss(OLD, LABELS, None)
