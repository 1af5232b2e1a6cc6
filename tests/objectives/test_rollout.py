"""What REINFORCE draws: the right distribution, reproducibly, and always the same number of draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from reinforced.objectives import Reinforce, Rollout
from reinforced.streams import Stream

B, K = 2, 3
LABELS = torch.tensor([0, 2])
LOGITS = torch.tensor([[0.8, -0.4, 0.1], [0.5, 0.2, -0.6]], dtype=torch.float64)
ALMOST_ONE = 1 - 2**-24  # the largest float32 below 1, and the largest draw


class Dealt(Stream):
    """A stream whose draws are all one number."""

    def __init__(self, value: float) -> None:
        super().__init__(0, "dealt")
        self.value = value

    def uniform(self, rows: int, *shape: int) -> Tensor:
        return torch.full((rows, *shape), self.value)


def roll(objective: Reinforce, logits: Tensor = LOGITS, labels: Tensor = LABELS, seed: int = 0) -> Rollout:
    return objective.rollout(logits, labels, Stream(seed, "exploration"))


SETTINGS: list[dict[str, Any]] = [
    {},
    {"exploration": 0.3},
    {"exploration": 0.3, "coin": "batch"},
    {"exploration": 0.3, "coin": "batch", "action": "argmax"},
    {"exploration": 0.3, "action": "argmax"},
    {"temperature": 2.0},
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def joint(objective: Reinforce) -> Tensor:
    """Probability of each of the K^B joint actions of a batch, one sample of each image."""
    pi = (LOGITS / objective.temperature).softmax(1)
    base = torch.eye(K, dtype=torch.float64)[pi.argmax(1)] if objective.action == "argmax" else pi
    e, uniform = objective.exploration, torch.full_like(pi, 1 / K)
    if objective.coin == "batch":
        return (1 - e) * torch.outer(*base).flatten() + e * torch.outer(*uniform).flatten()
    return torch.outer(*((1 - e) * base + e * uniform)).flatten()


@every_setting
def test_joint_frequencies_match_the_behaviour(settings: dict[str, Any]) -> None:
    objective = Reinforce(samples=100_000, **settings)
    actions = roll(objective).actions
    counts = torch.bincount(actions[:, 0] * K + actions[:, 1], minlength=K**B).double()
    expected = joint(objective) * len(actions)
    assert (counts[expected == 0] == 0).all()
    possible = expected > 0
    assert chisquare(counts[possible], expected[possible]).pvalue > 1e-3
    tilted = expected * (1 + 0.05 * (-1.0) ** torch.arange(K**B))  # a 5 % error would be seen
    tilted *= expected.sum() / tilted.sum()
    assert chisquare(counts[possible], tilted[possible]).pvalue < 1e-6


def test_the_two_coins_have_different_joint_frequencies() -> None:
    each, whole = (Reinforce(samples=100_000, exploration=0.3, coin=coin) for coin in ("image", "batch"))
    actions = roll(whole).actions
    counts = torch.bincount(actions[:, 0] * K + actions[:, 1], minlength=K**B).double()
    assert chisquare(counts, joint(each) * len(actions)).pvalue < 1e-6


def test_a_batch_coin_explores_with_the_whole_batch_or_not_at_all() -> None:
    logits, labels = 100 * torch.eye(4)[torch.zeros(64, dtype=torch.int64)], torch.zeros(64).long()
    objective = Reinforce(samples=2000, exploration=0.25, coin="batch")
    away = (roll(objective, logits, labels).actions != 0).float().mean(1)
    explored = away > 0
    assert away[explored].min() > 0.5  # uniform over 4 classes: 3/4 away from the best
    share = explored.float().mean().item()
    assert abs(share - 0.25) <= 5 * (0.25 * 0.75 / 2000) ** 0.5
    each = roll(Reinforce(samples=2000, exploration=0.25), logits, labels)
    assert ((each.actions != 0).float().mean(1) < 0.5).all()


@every_setting
def test_log_probabilities_and_rewards_are_those_of_the_actions(settings: dict[str, Any]) -> None:
    objective = Reinforce(samples=50, reward=(2, -1), **settings)
    rollout = roll(objective)
    table = joint(objective).view(K, K)
    marginal = torch.stack([table.sum(1), table.sum(0)])
    expected = marginal[torch.arange(B), rollout.actions].log()
    assert torch.allclose(rollout.log_behaviour, expected, rtol=0, atol=1e-6)
    pi = (LOGITS / objective.temperature).softmax(1)
    of_policy = pi[torch.arange(B), rollout.actions].log()
    assert torch.allclose(rollout.log_policy, of_policy, rtol=0, atol=1e-12)
    assert torch.equal(rollout.rewards, torch.where(rollout.actions == LABELS, 2.0, -1.0))
    for tensor in (rollout.actions, rollout.rewards, rollout.log_behaviour, rollout.log_policy):
        assert tensor.shape == (50, B)
    assert rollout.actions.dtype is torch.int64


@every_setting
def test_same_seed_same_actions(settings: dict[str, Any]) -> None:
    objective = Reinforce(samples=50, **settings)
    assert torch.equal(roll(objective).actions, roll(objective).actions)
    if not (settings.get("action") == "argmax" and settings.get("exploration", 0) == 0):
        assert not torch.equal(roll(objective).actions, roll(objective, seed=1).actions)


@every_setting
def test_the_number_of_draws_never_depends_on_the_outcome(settings: dict[str, Any]) -> None:
    objective = Reinforce(samples=3, **settings)
    expected = Stream(0, "exploration")
    if objective.coin == "batch":
        expected.shared_uniform(3)
    expected.uniform(B, 3)
    for logits in (LOGITS, torch.zeros(B, 100), 1e4 * torch.eye(5)[:B]):
        stream = Stream(0, "exploration")
        objective.rollout(logits, LABELS, stream)
        assert torch.equal(stream.get_state(), expected.get_state())


@every_setting
def test_processes_draw_the_slices_of_one_process(settings: dict[str, Any]) -> None:
    objective = Reinforce(samples=4, **settings)
    logits = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(12) % 5
    whole = roll(objective, logits, labels).actions
    for rank in range(3):
        mine = slice(4 * rank, 4 * rank + 4)
        stream = Stream(0, "exploration", rank=rank, world=3)
        assert torch.equal(objective.rollout(logits[mine], labels[mine], stream).actions, whole[:, mine])


@pytest.mark.parametrize(
    ("draw", "action"), [(0.0, 0), (0.2499, 0), (0.25, 1), (0.4999, 1), (0.5, 2), (ALMOST_ONE, 2)]
)
def test_a_draw_takes_the_class_whose_interval_it_falls_in(draw: float, action: int) -> None:
    logits = torch.tensor([[0.25, 0.25, 0.5]]).log()
    rollout = Reinforce().rollout(logits, torch.tensor([0]), Dealt(draw))
    assert rollout.actions.item() == action


@pytest.mark.parametrize("draw", [0.0, 2**-24, 0.5, ALMOST_ONE])
def test_classes_of_probability_zero_are_never_drawn(draw: float) -> None:
    logits = torch.tensor([[-1e4, 0, -1e4, 0, -1e4]])
    action = Reinforce().rollout(logits, torch.tensor([0]), Dealt(draw)).actions.item()
    assert action == (1 if draw < 0.5 else 3)


@pytest.mark.parametrize("k", [2, 10, 100, 1000])
@pytest.mark.parametrize("draw", [0.0, ALMOST_ONE])
def test_rounding_never_leads_outside_the_possible_classes(k: int, draw: float) -> None:
    """Float32 sums of K probabilities end a little off 1; the last classes here have probability 0."""
    logits = 3 * torch.randn(200, k, generator=torch.Generator().manual_seed(0))
    logits[:, -(k // 4) :] -= 1e4 if k > 2 else 0
    rollout = Reinforce().rollout(logits, torch.zeros(200, dtype=torch.int64), Dealt(draw))
    chosen = logits.softmax(1)[torch.arange(200), rollout.actions[0]]
    assert (chosen > 0).all()
    assert torch.isfinite(rollout.log_behaviour).all()


def test_no_gradient_flows_through_a_rollout() -> None:
    rollout = roll(Reinforce(exploration=0.3), LOGITS.clone().requires_grad_())
    assert not rollout.rewards.requires_grad
    assert not rollout.log_behaviour.requires_grad
    assert not rollout.log_policy.requires_grad


def test_the_policys_log_probability_survives_underflow() -> None:
    """Exploring, an action of probability e^-200 = 0 in float32 is drawn: its logarithm must stay finite."""
    logits = torch.tensor([[0.0, -200.0]])
    rollout = Reinforce(exploration=0.5).rollout(logits, torch.tensor([0]), Dealt(ALMOST_ONE))
    assert rollout.actions.item() == 1
    assert rollout.log_policy.item() == -200
