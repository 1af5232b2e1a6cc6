"""What every objective owes: a new objective gets all of these checks with one row of ``OBJECTIVES``."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor

from reinforced.component import Component
from reinforced.objectives import (
    GCE,
    PPO,
    AnyObjective,
    CrossEntropy,
    ExpectedPG,
    Interpolation,
    LossTerms,
    Objective,
    Reinforce,
    Truncated,
)
from reinforced.streams import Stream

OBJECTIVES: dict[str, Objective] = {
    "cross_entropy": CrossEntropy(),
    "cross_entropy-smoothed": CrossEntropy(label_smoothing=0.05),
    "expected_pg": ExpectedPG(),
    "expected_pg-plus_minus": ExpectedPG(reward=(1, -1)),
    "expected_pg-as_released": ExpectedPG(exploration=0.1, log_floor=1e-6),
    "expected_pg-importance": ExpectedPG(exploration=0.1, importance=True),
    "expected_pg-argmax": ExpectedPG(action="argmax", reward=(1, -1), temperature=2),
    "expected_pg-entropy_bonus": ExpectedPG(entropy_bonus=0.01),
    "reinforce": Reinforce(),
    "reinforce-gupta": Reinforce(reward=(1, -1)),
    "reinforce-as_released": Reinforce(exploration=0.1, coin="batch", log_floor=1e-6),
    "reinforce-batch_mean": Reinforce(baseline="batch_mean"),
    "reinforce-leave_one_out": Reinforce(baseline="leave_one_out", samples=4),
    "reinforce-importance": Reinforce(exploration=0.1, importance=True, samples=2),
    "reinforce-argmax": Reinforce(action="argmax", exploration=0.1, reward=(1, -1)),
    "reinforce-entropy_bonus": Reinforce(entropy_bonus=0.01, samples=2),
    "ppo": PPO(),
    "ppo-leave_one_out": PPO(baseline="leave_one_out", samples=4, entropy_bonus=0.01),
    "ppo-importance": PPO(exploration=0.1, importance=True, samples=2, reward=(1, -1)),
    "ppo-floored": PPO(exploration=0.1, log_floor=1e-6, coin="batch"),
    "gce": GCE(),
    "gce-cross_entropy": GCE(q=0),
    "gce-mean_absolute_error": GCE(q=1),
    "truncated": Truncated(),
    "truncated-first": Truncated(terms=1),
    "truncated-many": Truncated(terms=100),
    "interpolation": Interpolation(first=CrossEntropy(), second=ExpectedPG()),
    "interpolation-sampled": Interpolation(
        first=Reinforce(samples=3), second=PPO(updates=1, samples=2), shape="cosine"
    ),
    "interpolation-unsampled_into_sampled": Interpolation(
        first=GCE(), second=Reinforce(exploration=0.1), begin=0.25, end=0.75
    ),
    "interpolation-sampled_into_unsampled": Interpolation(first=PPO(updates=1), second=Truncated()),
}
METRICS = {
    "cross_entropy": {"p_correct", "entropy"},
    "expected_pg": {"p_correct", "entropy", "reward"},
    "reinforce": {"p_correct", "entropy", "reward"},
    "ppo": {"p_correct", "entropy", "reward", "clipped"},
    "gce": {"p_correct", "entropy"},
    "truncated": {"p_correct", "entropy"},
    "interpolation": {"p_correct", "entropy", "second_weight", "first_loss", "second_loss"},
}
LOGGED = (
    "loss", "train_accuracy", "validation_accuracy", "gradient_norm", "lr", "images_per_second", "passes",
    "seconds",
)  # fmt: skip
KINDS: dict[str, type[Component]] = {
    member.model_fields["kind"].default: member for member in get_args(get_args(AnyObjective)[0])
}
PAGES = Path(__file__).parents[2] / "docs" / "objectives"

every_objective = pytest.mark.parametrize(
    "objective", [pytest.param(row, id=name) for name, row in OBJECTIVES.items()]
)
every_kind = pytest.mark.parametrize("kind", KINDS)


def batch(classes: int = 5, size: int = 16) -> tuple[Tensor, Tensor]:
    logits = torch.randn(size, classes, generator=torch.Generator().manual_seed(0))
    return logits.requires_grad_(), torch.arange(size) % classes


def metrics_of(objective: Objective) -> set[str]:
    """The names of its metrics; a mixture has its parts' too, each with the part's place in front."""
    if not isinstance(objective, Interpolation):
        return METRICS[objective.kind]
    parts = {"first": objective.first, "second": objective.second}
    owned = {f"{place}_{name}" for place, part in parts.items() for name in METRICS[part.kind]}
    return METRICS["interpolation"] | owned


def step(objective: Objective, logits: Tensor, labels: Tensor, seed: int = 0) -> tuple[LossTerms, Tensor]:
    """One rollout and loss as a training step takes them, and the gradient for the logits."""
    objective = objective.at(0.5)
    rollout = objective.rollout(logits.detach(), labels, Stream(seed, "exploration"))
    terms = objective.loss(logits, labels, rollout)
    (gradient,) = torch.autograd.grad(terms.loss, logits)
    return terms, gradient


def test_every_objective_has_a_row() -> None:
    assert {row.kind for row in OBJECTIVES.values()} == set(KINDS) == set(METRICS)


@every_objective
@pytest.mark.parametrize("classes", [2, 5, 100])
def test_loss_is_a_finite_scalar_with_gradient(objective: Objective, classes: int) -> None:
    logits, labels = batch(classes, 512)  # so many that some sampled action is right among 100 classes
    terms, gradient = step(objective, logits, labels)
    assert terms.loss.shape == ()
    assert torch.isfinite(terms.loss)
    assert gradient.shape == logits.shape
    assert torch.isfinite(gradient).all()
    assert gradient.abs().max() > 0


@every_objective
def test_metrics_are_detached_scalars_of_the_documented_names(objective: Objective) -> None:
    terms, _ = step(objective, *batch())
    assert set(terms.metrics) == metrics_of(objective)
    for value in terms.metrics.values():
        assert value.shape == ()
        assert not value.requires_grad
        assert torch.isfinite(value)
    assert 0 <= terms.metrics["p_correct"] <= 1
    assert 0 <= terms.metrics["entropy"] <= torch.tensor(5.0).log()


@every_objective
def test_its_nature_is_the_same_during_the_whole_phase(objective: Objective) -> None:
    """An epoch's metrics are summed by name, and resumed runs draw the same: neither may hang on progress."""
    logits, labels = batch()
    places = []
    for progress in (0, 0.5, 1):
        now, stream = objective.at(progress), Stream(0, "exploration")
        assert now.kind == objective.kind
        assert now.updates == objective.updates >= 1
        assert set(now.loss(logits, labels, now.rollout(logits, labels, stream)).metrics) == metrics_of(
            objective
        )
        places.append(stream.get_state())
    assert torch.equal(places[0], places[1])
    assert torch.equal(places[0], places[2])


@every_objective
def test_descent_makes_the_right_class_probable(objective: Objective) -> None:
    objective = objective.at(0.5)
    logits, labels = batch(size=64)
    stream = Stream(0, "exploration")
    optimizer = torch.optim.SGD([logits], lr=20)  # 0.3 an image
    for _ in range(200):
        rollout = objective.rollout(logits.detach(), labels, stream)
        optimizer.zero_grad()
        objective.loss(logits, labels, rollout).loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert objective.loss(logits, labels, rollout).metrics["p_correct"] > 0.9


@every_objective
def test_deterministic_given_a_stream(objective: Objective) -> None:
    first, gradient = step(objective, *batch())
    torch.rand(3)  # the global stream's place must not matter
    second, again = step(objective, *batch())
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(gradient, again)
    assert all(torch.equal(value, second.metrics[name]) for name, value in first.metrics.items())


@every_objective
def test_the_global_stream_is_left_alone(objective: Objective) -> None:
    before = torch.get_rng_state()
    step(objective, *batch())
    assert torch.equal(torch.get_rng_state(), before)


@every_objective
@pytest.mark.parametrize("sign", [1, -1])
def test_extreme_logits_stay_finite(objective: Objective, sign: int) -> None:
    """Certain and right, or certain and wrong: the loss may be large, but nothing overflows."""
    labels = torch.arange(16) % 5
    logits = (sign * 1e4 * (2 * torch.eye(5)[labels] - 1)).requires_grad_()
    for seed in range(5):
        terms, gradient = step(objective, logits, labels, seed)
        assert torch.isfinite(terms.loss)
        assert torch.isfinite(gradient).all()
        assert all(torch.isfinite(value) for value in terms.metrics.values())


@every_objective
@pytest.mark.parametrize("sign", [1, -1])
def test_second_derivatives_stay_finite(objective: Objective, sign: int) -> None:
    """Whatever differentiates a gradient, such as a penalty on it, meets certain policies too."""
    objective, labels = objective.at(0.5), torch.arange(16) % 5
    logits = (sign * 1e4 * (2 * torch.eye(5)[labels] - 1)).requires_grad_()
    rollout = objective.rollout(logits.detach(), labels, Stream(0, "exploration"))
    loss = objective.loss(logits, labels, rollout).loss
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum() + gradient.sum(), logits)
    assert torch.isfinite(second).all()


@every_objective
def test_a_rollout_of_another_policy_stays_finite(objective: Objective) -> None:
    """A method with several updates meets its rollout again, however far the policy has gone since."""
    objective = objective.at(0.5)
    labels = torch.arange(16) % 5
    extreme = 1e4 * (2 * torch.eye(5)[labels] - 1)
    for before, after in ((extreme, -extreme), (-extreme, extreme), (0 * extreme, extreme)):
        rollout = objective.rollout(before, labels, Stream(0, "exploration"))
        logits = after.clone().requires_grad_()
        terms = objective.loss(logits, labels, rollout)
        assert torch.isfinite(terms.loss)
        assert torch.isfinite(torch.autograd.grad(terms.loss, logits)[0]).all()


@every_objective
def test_half_precision_logits_give_a_float32_loss(objective: Objective) -> None:
    logits, labels = batch()
    half = logits.detach().bfloat16().requires_grad_()
    terms, gradient = step(objective, half, labels)
    same, reference = step(objective, half.detach().float().requires_grad_(), labels)
    assert terms.loss.dtype is torch.float32
    assert gradient.dtype is torch.bfloat16
    assert torch.equal(terms.loss, same.loss)
    assert torch.allclose(gradient.float(), reference, rtol=2**-8, atol=1e-6)


@every_objective
def test_a_rollout_carries_no_gradient(objective: Objective) -> None:
    logits, labels = batch()
    rollout = objective.at(0.5).rollout(logits, labels, Stream(0, "exploration"))
    if rollout is not None:
        for tensor in (rollout.actions, rollout.rewards, rollout.log_behaviour, rollout.log_policy):
            assert not tensor.requires_grad
            assert tensor.shape == (rollout.actions.shape[0], len(labels))


@every_objective
def test_settings_survive_a_recipe(objective: Objective) -> None:
    assert isinstance(objective, Component)
    assert type(objective).model_validate(objective.model_dump(mode="json")) == objective


def section(kind: str, heading: str) -> list[str]:
    """The lines of a page under a heading."""
    text = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    return text.split(f"\n{heading}\n")[1].split("\n## ")[0].splitlines()


@every_kind
def test_the_page_documents_every_field_and_metric(kind: str) -> None:
    fields = section(kind, "## Fields")
    for name, field in KINDS[kind].model_fields.items():
        (row,) = [line for line in fields if line.startswith(f"| `{name}` |")]
        default = list(field.default) if isinstance(field.default, tuple) else field.default
        default = "required" if field.is_required() else default
        assert f"| `{str(default).lower() if isinstance(default, bool) else default}` |" in row
        extra = field.json_schema_extra
        assert isinstance(extra, dict) or name == "kind"
        assert str((extra or {}).get("source", "")) in row  # type: ignore[union-attr]
    metrics = section(kind, "## Logged metrics")
    for metric in (*METRICS[kind], *LOGGED):
        assert len([line for line in metrics if line.startswith(f"| `{metric}` |")]) == 1, metric


def test_the_index_links_every_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert all(f"({kind}.md)" in index for kind in KINDS)
