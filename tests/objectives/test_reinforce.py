"""REINFORCE's expectation, by enumerating every outcome of two images and three classes, and its biases.

The rollout's distribution, which the enumeration takes for granted, is tested in test_rollout.py; both
together, by sampling, in test_reinforce_sampling.py. Notation as in docs/objectives/reinforce.md.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.objectives import ExpectedPG, Reinforce, Rollout

B, K = 2, 3
LABELS = torch.tensor([0, 2])
LOGITS = torch.tensor([[0.8, -0.4, 0.1], [0.5, 0.2, -0.6]], dtype=torch.float64)
ACTIONS = torch.tensor(list(product(range(K), repeat=B)))  # (K^B, B): all a batch can do
Branches = list[tuple[float, Tensor]]


def expected_pg(objective: Reinforce) -> ExpectedPG:
    """The exact expectation without a baseline."""
    return ExpectedPG(
        **{name: getattr(objective, name) for name in ExpectedPG.model_fields if name != "kind"}
    )


def branches(objective: Reinforce) -> Branches:
    """(probability, (B, K) action probabilities): not exploring and exploring."""
    pi = (LOGITS / objective.temperature).softmax(1)
    base = F.one_hot(pi.argmax(1), K).double() if objective.action == "argmax" else pi
    return [(1 - objective.exploration, base), (objective.exploration, torch.full_like(pi, 1 / K))]


def marginal(objective: Reinforce) -> Tensor:
    return torch.stack([chance * acting for chance, acting in branches(objective)]).sum(0)


def enumerated_gradient(objective: Reinforce) -> Tensor:
    """The exact mean of the gradient of ``objective.loss`` over all K^(B S) outcomes."""
    behaviour = marginal(objective)
    tossed = branches(objective) if objective.coin == "batch" else [(1.0, behaviour)]
    images = torch.arange(B)
    chances = sum(chance * acting[images, ACTIONS].prod(1) for chance, acting in tossed)
    assert isinstance(chances, Tensor)
    logits = LOGITS.clone().requires_grad_()
    log_pi = objective.log_policy(LOGITS)
    mean = torch.zeros((), dtype=torch.float64)
    for rows in product(range(len(ACTIONS)), repeat=objective.samples):
        actions = ACTIONS[list(rows)]
        rewards = objective.rewards(actions, LABELS)
        rollout = Rollout(actions, rewards, behaviour[images, actions].log(), log_pi[images, actions])
        mean = mean + chances[list(rows)].prod() * objective.loss(logits, LABELS, rollout).loss
    return gradient_of(lambda _: mean, logits)


def gradient_of(function: Callable[[Tensor], Tensor], at: Tensor | None = None) -> Tensor:
    point = LOGITS.clone().requires_grad_() if at is None else at
    (gradient,) = torch.autograd.grad(function(point), point)
    return gradient


def exact_gradient(objective: Reinforce) -> Tensor:
    target = expected_pg(objective)
    return gradient_of(lambda at: target.loss(at, LABELS, None).loss)


def score_sum(objective: Reinforce, factors: Tensor, weights: Tensor) -> Tensor:
    """Gradient of ``mean_i factor_i sum_a weights_i(a) log(pi_i(a) + floor)``, factors and weights held."""
    return gradient_of(
        lambda at: (factors * (weights * objective.floored(objective.log_policy(at))).sum(1)).mean()
    )


def mean_reward(objective: Reinforce, acting: Tensor) -> Tensor:
    right, wrong = objective.reward
    return wrong + (right - wrong) * acting[torch.arange(B), LABELS]


def derived_gradient(objective: Reinforce) -> Tensor:
    """The closed form of docs/objectives/reinforce.md, section "Expectation"."""
    g, b = exact_gradient(objective), marginal(objective)
    pi = (LOGITS / objective.temperature).softmax(1)
    ratio = pi / b.clamp_min(1e-300) if objective.importance else torch.ones_like(pi)
    m = mean_reward(objective, b)
    if objective.baseline == "leave_one_out":
        return g + score_sum(objective, m, ratio * b)
    if objective.baseline == "none":
        return g
    others = (m.sum() - m) / B
    g = (1 - 1 / B) * g + score_sum(objective, others, ratio * b)
    if objective.coin == "batch":
        (stay, base), (explore, uniform) = branches(objective)
        gap = mean_reward(objective, base) - mean_reward(objective, uniform)
        g = g + stay * explore * score_sum(objective, (gap.sum() - gap) / B, ratio * (base - uniform))
    return g


def close(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=1e-12)


def grid() -> list[Reinforce]:
    """Every combination of the settings that bear on the expectation."""
    found = []
    names = ("reward", "action", "exploration", "importance", "coin", "baseline", "log_floor")
    choices = product(
        [(1, 0), (1, -1)],
        ["sampled", "argmax"],
        [0.0, 0.25],
        [False, True],
        ["image", "batch"],
        ["none", "batch_mean", "leave_one_out"],
        [0.0, 0.1],
    )
    for choice in choices:
        settings: dict[str, Any] = dict(zip(names, choice, strict=True))
        pointless = settings["exploration"] == 0 and (settings["coin"] == "batch" or settings["importance"])
        if not pointless:
            samples = 2 if settings["baseline"] == "leave_one_out" else 1
            found.append(Reinforce(samples=samples, temperature=0.8, **settings))
    return found


def test_expectation_is_the_derived_one_for_every_combination_of_settings() -> None:
    cases = grid()
    assert len(cases) == 120
    for objective in cases:
        assert close(enumerated_gradient(objective), derived_gradient(objective)), objective


UNBIASED: list[dict[str, Any]] = [
    {},
    {"exploration": 0.25},
    {"exploration": 0.25, "coin": "batch"},
    {"exploration": 0.25, "coin": "batch", "log_floor": 1e-6},
    {"exploration": 0.25, "importance": True, "reward": "plus_minus"},
    {"exploration": 0.25, "importance": True, "coin": "batch"},
    {"action": "argmax", "reward": "plus_minus"},
    {"action": "argmax", "exploration": 0.25, "coin": "batch"},
    {"action": "argmax", "exploration": 0.25, "importance": True},
    {"samples": 2, "baseline": "leave_one_out"},
    {"samples": 2, "baseline": "leave_one_out", "coin": "batch"},
    {"samples": 2, "baseline": "leave_one_out", "exploration": 0.25, "importance": True},
    {"samples": 2, "baseline": "leave_one_out", "exploration": 0.25, "importance": True, "coin": "batch"},
    {"samples": 2, "baseline": "leave_one_out", "exploration": 0.25, "importance": True, "action": "argmax"},
]


@pytest.mark.parametrize("settings", UNBIASED, ids=str)
def test_unbiased_for_expected_pg(settings: dict[str, Any]) -> None:
    objective = Reinforce(**settings)
    assert close(enumerated_gradient(objective), exact_gradient(objective))


@pytest.mark.parametrize(
    "settings", [{}, {"reward": "plus_minus"}, {"exploration": 0.25, "importance": True}], ids=str
)
def test_batch_mean_shrinks_by_exactly_one_minus_one_over_b(settings: dict[str, Any]) -> None:
    objective = Reinforce(baseline="batch_mean", **settings)
    assert close(enumerated_gradient(objective), (1 - 1 / B) * exact_gradient(objective))


def test_batch_mean_of_one_image_learns_nothing() -> None:
    rollout = Rollout(torch.tensor([[0]]), torch.tensor([[1.0]]), torch.zeros(1, 1), torch.zeros(1, 1))
    objective = Reinforce(baseline="batch_mean")
    gradient = gradient_of(lambda at: objective.loss(at[:1], LABELS[:1], rollout).loss)
    assert torch.equal(gradient, torch.zeros_like(LOGITS))


@pytest.mark.parametrize("coin", ["image", "batch"])
@pytest.mark.parametrize("reward", ["zero_one", "plus_minus"])
def test_leave_one_out_with_uncorrected_exploration_is_biased_by_the_mean_score(
    coin: Any, reward: Any
) -> None:
    objective = Reinforce(samples=2, baseline="leave_one_out", exploration=0.25, coin=coin, reward=reward)
    b = marginal(objective)
    bias = enumerated_gradient(objective) - exact_gradient(objective)
    # sum_a b(a) grad log pi(a) is b - pi for logits
    by_hand = mean_reward(objective, b)[:, None] * (b - LOGITS.softmax(1)) / B
    assert close(bias, by_hand)
    assert bias.abs().max() > 1e-3


def test_batch_mean_with_uncorrected_exploration_is_shrunk_and_biased_by_the_other_images() -> None:
    objective = Reinforce(baseline="batch_mean", exploration=0.25)
    b = marginal(objective)
    m = mean_reward(objective, b)
    by_hand = exact_gradient(objective) / 2 + (m.flip(0) / 2)[:, None] * (b - LOGITS.softmax(1)) / B
    assert close(enumerated_gradient(objective), by_hand)
    assert not close(by_hand, exact_gradient(objective) / 2)


@pytest.mark.parametrize("importance", [False, True])
def test_batch_mean_tells_the_coins_apart_by_a_covariance(importance: bool) -> None:
    common: dict[str, Any] = {"baseline": "batch_mean", "exploration": 0.25, "importance": importance}
    each, whole = Reinforce(coin="image", **common), Reinforce(coin="batch", **common)
    difference = enumerated_gradient(whole) - enumerated_gradient(each)
    pi = LOGITS.softmax(1)
    gap = pi[torch.arange(B), LABELS] - 1 / K
    weights = pi - 1 / K
    if importance:
        weights = weights * pi / marginal(whole)
    score = weights - weights.sum(1, keepdim=True) * pi
    by_hand = 0.25 * 0.75 * (gap.flip(0) / 2)[:, None] * score / B
    assert close(difference, by_hand)
    assert difference.abs().max() > 1e-4


@pytest.mark.parametrize("baseline", ["none", "leave_one_out"])
@pytest.mark.parametrize("importance", [False, True])
def test_without_the_batch_mean_the_coins_agree_in_expectation(baseline: Any, importance: bool) -> None:
    common: dict[str, Any] = {"samples": 2, "exploration": 0.25, "importance": importance}
    each, whole = (Reinforce(coin=coin, baseline=baseline, **common) for coin in ("image", "batch"))
    assert close(enumerated_gradient(each), enumerated_gradient(whole))


def test_a_log_floor_biases_even_leave_one_out_on_policy() -> None:
    """log(p + floor) is no log-probability, so its mean gradient under the policy is not zero."""
    objective = Reinforce(samples=2, baseline="leave_one_out", log_floor=0.1)
    pi = LOGITS.softmax(1)
    m = mean_reward(objective, pi)
    bias = enumerated_gradient(objective) - exact_gradient(objective)
    assert close(bias, score_sum(objective, m, pi))
    assert bias.abs().max() > 1e-3


def rolled(samples: int = 3) -> Rollout:
    """Three samples of each image, as if drawn with exploration 0.3."""
    actions = torch.tensor([[0, 1], [2, 2], [0, 0]])[:samples]
    pi, images = LOGITS.softmax(1), torch.arange(B)
    b = 0.7 * pi + 0.1
    rewards = (actions == LABELS).float()
    return Rollout(actions, rewards, b[images, actions].log(), pi[images, actions].log())


@pytest.mark.parametrize(
    ("settings", "advantages"),
    [
        ({"baseline": "none"}, [[1, 0], [0, 1], [1, 0]]),
        ({"baseline": "batch_mean"}, [[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]]),
        ({"baseline": "leave_one_out"}, [[0.5, -0.5], [-1, 1], [0.5, -0.5]]),
    ],
)
@pytest.mark.parametrize("importance", [False, True])
def test_gradient_against_finite_differences_with_the_weights_held(
    settings: dict[str, Any],
    advantages: list[list[float]],
    importance: bool,
    differences: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor],
) -> None:
    objective = Reinforce(samples=3, exploration=0.3, importance=importance, **settings)
    rollout = rolled()
    weights = torch.tensor(advantages, dtype=torch.float64)
    if importance:
        chosen = LOGITS.softmax(1)[torch.arange(B), rollout.actions]
        weights = weights * chosen / rollout.log_behaviour.exp()

    def surrogate(at: Tensor) -> Tensor:
        return -(weights * at.log_softmax(1)[torch.arange(B), rollout.actions]).mean()

    loss = objective.loss(LOGITS, LABELS, rollout).loss
    assert loss.item() == pytest.approx(surrogate(LOGITS).item(), abs=1e-12)
    gradient = gradient_of(lambda at: objective.loss(at, LABELS, rollout).loss)
    assert torch.allclose(gradient, differences(surrogate, LOGITS), rtol=0, atol=1e-9)


def test_the_logged_reward_is_the_rollouts_mean() -> None:
    metrics = Reinforce(samples=3).loss(LOGITS, LABELS, rolled()).metrics
    assert metrics["reward"].item() == pytest.approx(0.5)


def test_a_loss_without_a_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="call rollout"):
        Reinforce().loss(LOGITS, LABELS, None)
