"""One objective passing into another: the weight, the ends, what is drawn, and how a recipe writes it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from reinforced.errors import ReinforcedError
from reinforced.objectives import (
    GCE,
    PPO,
    CrossEntropy,
    ExpectedPG,
    Interpolation,
    LossTerms,
    Objective,
    Reinforce,
    Truncated,
)
from reinforced.objectives.mixture import PairedRollout
from reinforced.streams import Stream
from reinforced.training.recipes import load_recipe

LABELS = torch.tensor([0, 4, 2, 2])
LOGITS = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def taken(objective: Objective, stream: Stream) -> tuple[LossTerms, Tensor]:
    point = LOGITS.clone().requires_grad_()
    terms = objective.loss(point, LABELS, objective.rollout(LOGITS, LABELS, stream))
    (gradient,) = torch.autograd.grad(terms.loss, point)
    return terms, gradient


@pytest.mark.parametrize(
    ("progress", "linear", "cosine"),
    [
        (0, 0, 0),
        (0.2, 0, 0),
        (0.35, 0.25, 0.1464466094),
        (0.5, 0.5, 0.5),
        (0.65, 0.75, 0.8535533906),
        (0.8, 1, 1),
        (1, 1, 1),
    ],
)
def test_weight_by_hand(progress: float, linear: float, cosine: float) -> None:
    for shape, expected in (("linear", linear), ("cosine", cosine)):
        mixed = Interpolation(first=GCE(), second=Truncated(), begin=0.2, end=0.8, shape=shape)
        assert mixed.weight(progress) == pytest.approx(expected, abs=1e-10)
        assert mixed.at(progress).weight == mixed.weight(progress)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize(("begin", "end"), [(0, 1), (0.1, 0.7), (1 / 3, 2 / 3)])
def test_the_ends_are_exact_and_the_way_is_monotone(shape: Any, begin: float, end: float) -> None:
    mixed = Interpolation(first=GCE(), second=Truncated(), begin=begin, end=end, shape=shape)
    assert (mixed.weight(begin), mixed.weight(end)) == (0, 1)
    way = [mixed.weight(step / 100) for step in range(101)]
    assert way == sorted(way)


PARTS = [
    CrossEntropy(),
    ExpectedPG(exploration=0.1),
    Reinforce(samples=3),
    PPO(updates=1),
    GCE(),
    Truncated(),
]


@pytest.mark.parametrize("first", PARTS, ids=lambda part: part.kind)
@pytest.mark.parametrize("second", PARTS, ids=lambda part: part.kind)
def test_at_0_and_1_it_is_its_parts_exactly(first: Any, second: Any) -> None:
    """Bit for bit; the second part draws after the first."""
    mixed, stream = Interpolation(first=first, second=second), Stream(0, "exploration")
    alone, first_gradient = taken(first, stream)
    other, second_gradient = taken(second, stream)
    for progress, terms, gradient in ((0, alone, first_gradient), (1, other, second_gradient)):
        found, mixed_gradient = taken(mixed.at(progress), Stream(0, "exploration"))
        assert torch.equal(found.loss, terms.loss)
        assert torch.equal(mixed_gradient, gradient)
        assert found.metrics["second_weight"] == progress
        for place, part in (("first", alone), ("second", other)):
            assert torch.equal(found.metrics[f"{place}_loss"], part.loss)
            for name, value in part.metrics.items():
                assert torch.equal(found.metrics[f"{place}_{name}"], value)


def test_in_between_loss_and_gradient_are_weighted() -> None:
    first, second = CrossEntropy(), ExpectedPG()
    terms, gradient = taken(Interpolation(first=first, second=second).at(0.3), Stream(0, "exploration"))
    parts = [taken(part, Stream(0, "exploration")) for part in (first, second)]
    expected = 0.7 * parts[0][0].loss + 0.3 * parts[1][0].loss
    assert terms.loss.item() == pytest.approx(expected.item(), abs=1e-14)
    assert torch.allclose(gradient, 0.7 * parts[0][1] + 0.3 * parts[1][1], rtol=0, atol=1e-14)
    assert terms.metrics["second_weight"] == pytest.approx(0.3)


def test_cross_entropy_and_expected_pg_mix_as_uncorrected_exploration_does() -> None:
    """expected_pg with exploration e has the gradient of (1 - e) (1 - p) + (e / K) CE."""
    e, k = 0.5, 5
    mixed = Interpolation(first=CrossEntropy(), second=ExpectedPG()).at((1 - e) / (1 - e + e / k))
    _, gradient = taken(mixed, Stream(0, "exploration"))
    _, expected = taken(ExpectedPG(exploration=e), Stream(0, "exploration"))
    assert torch.allclose((1 - e + e / k) * gradient, expected, rtol=0, atol=1e-14)


def test_metrics_describe_the_plain_policy_beside_the_parts() -> None:
    hot = ExpectedPG(temperature=3)
    metrics = taken(Interpolation(first=CrossEntropy(), second=hot).at(0.5), Stream(0, "exploration"))[
        0
    ].metrics
    assert torch.equal(metrics["p_correct"], metrics["first_p_correct"])
    assert metrics["second_p_correct"] != metrics["p_correct"]
    assert metrics["second_reward"] == metrics["second_p_correct"]


def test_a_rollout_holds_both_parts() -> None:
    mixed = Interpolation(first=Reinforce(samples=3), second=Reinforce(samples=2, reward=(1, -1))).at(0.5)
    rollout = mixed.rollout(LOGITS, LABELS, Stream(0, "exploration"))
    assert isinstance(rollout, PairedRollout)
    assert rollout.first is not None
    assert rollout.second is not None
    assert rollout.actions.shape == (5, 4)
    assert torch.equal(rollout.actions[:3], rollout.first.actions)
    assert torch.equal(rollout.rewards[3:], rollout.second.rewards)
    unsampled = Interpolation(first=CrossEntropy(), second=GCE()).at(0.5)
    assert unsampled.rollout(LOGITS, LABELS, Stream(0, "exploration")) is None


def test_parts_of_several_updates_must_agree() -> None:
    assert Interpolation(first=PPO(), second=PPO(clip=0.5)).updates == 4
    assert Interpolation(first=PPO(), second=PPO(clip=0.5)).at(0.5).updates == 4
    with pytest.raises(ValidationError, match="cross_entropy with 1 and ppo with 4; set ppo's updates"):
        Interpolation(first=CrossEntropy(), second=PPO())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"begin": 0.5, "end": 0.5}, "begin must come before end"),
        ({"begin": 0.6, "end": 0.5}, "begin must come before end"),
        ({"begin": -0.1}, "greater than or equal to 0"),
        ({"end": 1.1}, "less than or equal to 1"),
        ({"shape": "square"}, "'linear' or 'cosine'"),
        ({"second": {"kind": "interpolation"}}, "does not match any of the expected tags"),
    ],
)
def test_refused_settings_give_their_reason(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Interpolation.model_validate({"first": CrossEntropy(), "second": GCE()} | settings)


def test_without_a_progress_there_is_nothing_to_follow() -> None:
    mixed = Interpolation(first=CrossEntropy(), second=GCE())
    with pytest.raises(ValueError, match=r"call at\(\) first"):
        mixed.rollout(LOGITS, LABELS, Stream(0, "exploration"))
    with pytest.raises(ValueError, match=r"call at\(\) first"):
        mixed.loss(LOGITS, LABELS, None)


def overridden(*overrides: str) -> Objective:
    places = [f"phases.0.objective.{override}" for override in overrides]
    return load_recipe("quickstart/sl", overrides=places).phases[0].objective


def test_a_recipe_writes_it_by_overrides() -> None:
    into_reinforce = [
        "kind=interpolation",
        "first.kind=cross_entropy",
        "second={kind: reinforce, samples: 4}",
    ]
    assert overridden(*into_reinforce) == Interpolation(first=CrossEntropy(), second=Reinforce(samples=4))
    again = overridden(*into_reinforce, "second.kind=ppo", "second.updates=1", "shape=cosine")
    assert again == Interpolation(first=CrossEntropy(), second=PPO(samples=4, updates=1), shape="cosine")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["kind=interpolation"], "phases.0.objective.first: missing, and it has no default"),
        (["second.kind=interpolation"], "phases.0.objective.second.kind: unknown kind 'interpolation'"),
        (["second.sample=4"], "phases.0.objective.second.sample: unknown field; did you mean 'samples'?"),
        (["second.kind=ppo"], "phases.0.objective: both parts must take as many gradient steps on a batch"),
    ],
)
def test_a_mistake_in_a_part_is_named_where_it_is(overrides: list[str], message: str) -> None:
    nested = ["kind=interpolation", "first.kind=cross_entropy", "second.kind=reinforce"]
    with pytest.raises(ReinforcedError) as refused:
        overridden(*(overrides if overrides[0].startswith("kind") else [*nested, *overrides]))
    assert message in str(refused.value)
