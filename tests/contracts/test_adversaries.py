"""What every training adversary owes: a new one gets all of these checks with one row of ``ADVERSARIES``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.component import Component
from reinforced.objectives import CrossEntropy, ExpectedPG, Objective, Reinforce
from reinforced.streams import Stream
from reinforced.training.adversaries import (
    AWP,
    FGSM,
    MART,
    PGD,
    TRADES,
    Adversary,
    AnyAdversary,
    Fast,
    Free,
    NoAdversary,
    Trainee,
    View,
)


@dataclass(frozen=True)
class Row:
    """An adversary and what its page promises of its views and its ball."""

    adversary: Adversary
    views: tuple[str, ...]
    epsilon: float = 8 / 255
    norm: Norm = "linf"


BOTH, CLEAN, CRAFTED = ("clean", "crafted"), ("clean",), ("crafted",)
ADVERSARIES = {
    "none": Row(NoAdversary(), CLEAN),
    "fgsm": Row(FGSM(), BOTH, 0.01),
    "fgsm-gupta": Row(FGSM(epsilon=8 / 255, clean_weight=0), CRAFTED),
    "fgsm-uniform": Row(FGSM(epsilon=8 / 255, step=10 / 255, weight=0.2, start="uniform"), BOTH),
    "fgsm-eval": Row(FGSM(epsilon=8 / 255, mode="eval"), BOTH),
    "fgsm-sampled": Row(FGSM(craft="sampled"), BOTH, 0.01),
    "fgsm-l2": Row(FGSM(norm="l2", epsilon=0.5), BOTH, 0.5, "l2"),
    "fast": Row(Fast(), CRAFTED),
    "fast-expected": Row(Fast(craft="expected_pg"), CRAFTED),
    "free": Row(Free(), CRAFTED),
    "pgd": Row(PGD(steps=3), CRAFTED),
    "pgd-margin": Row(PGD(steps=3, craft="margin", clean_weight=0.5), BOTH),
    "pgd-l2": Row(PGD(steps=3, norm="l2", epsilon=0.5, start="normal"), CRAFTED, 0.5, "l2"),
    "trades": Row(TRADES(steps=3, step=0.02), BOTH),
    "trades-train": Row(TRADES(steps=3, step=0.02, mode="train"), BOTH),
    "mart": Row(MART(steps=3, step=0.02), BOTH),
    "awp": Row(AWP(inner=PGD(steps=3)), CRAFTED),
    "awp-fgsm": Row(AWP(inner=FGSM()), BOTH, 0.01),
    "awp-none": Row(AWP(inner=NoAdversary()), CLEAN),
}
KINDS: dict[str, type[Component]] = {
    member.model_fields["kind"].default: member for member in get_args(get_args(AnyAdversary)[0])
}
PAGES = Path(__file__).parents[2] / "docs" / "adversaries"
TOLERANCE = 1e-6  # rounding of image + epsilon in float32

every_adversary = pytest.mark.parametrize("row", ADVERSARIES.values(), ids=ADVERSARIES)


def network() -> nn.Module:
    """A small network in train mode, with dropout and batch norm, the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3),
            nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip


def data() -> tuple[Tensor, Tensor]:
    """32 images, a quarter of their pixels at the ends of [0,1]."""
    images = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return (1.25 * images - 0.125).clamp(0, 1), torch.arange(32) % 5


def objectives(row: Row) -> list[Objective]:
    every: list[Objective] = [CrossEntropy(), ExpectedPG(), Reinforce(exploration=0.1)]
    return [objective for objective in every if not row.adversary.refuses(objective)]


def views_of(
    row: Row, objective: Objective, model: nn.Module | None = None, *, seed: int = 0, share: bool = True
) -> tuple[View, ...]:
    torch.manual_seed(9)  # dropout's
    model = model or network()
    trainee = Trainee(model, model, share=share)
    return row.adversary.views(trainee, *data(), objective, Stream(seed, "adversary"), {})


def test_every_adversary_has_a_row() -> None:
    assert {row.adversary.kind for row in ADVERSARIES.values()} == set(KINDS)


@every_adversary
def test_views_are_images_in_ball_and_box(row: Row) -> None:
    images, _ = data()
    threat = ThreatModel(row.norm, row.epsilon)
    for objective in objectives(row):
        views = views_of(row, objective)
        assert tuple(view.name for view in views) == row.views
        for view in views:
            assert view.images.shape == images.shape
            assert view.images.dtype is torch.float32
            assert view.images.is_leaf
            assert view.images.min() >= 0
            assert view.images.max() <= 1
            distance = threat.distance(view.images.detach(), images)
            if view.name == "clean":
                assert torch.equal(view.images, images)
            else:
                assert distance.max() <= row.epsilon + TOLERANCE
                if row.adversary.kind != "free":  # whose perturbation begins at zero
                    assert distance.max() >= row.epsilon * 0.5


@every_adversary
def test_weights_gradients_and_running_averages_are_left_alone(row: Row) -> None:
    model = network()
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 7)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    views_of(row, CrossEntropy(), model, share=False)
    for weight in model.parameters():
        assert weight.grad is not None
        assert (weight.grad == 7).all()
        assert weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@every_adversary
def test_what_other_layers_keep_of_their_inputs_is_left_alone(row: Row) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.utils.parametrizations.spectral_norm(nn.Conv2d(3, 4, 3)),
            nn.InstanceNorm2d(4, track_running_stats=True), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10),
        )  # fmt: skip
        model(data()[0])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    views_of(row, CrossEntropy(), model, share=False)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_adversary
def test_batch_norm_counts_each_shared_pass_once(row: Row) -> None:
    model = network()
    shared = [view for view in views_of(row, CrossEntropy(), model) if view.logits is not None]
    assert int(model[1].num_batches_tracked) == len(shared)  # type: ignore[index]
    assert bool(shared) == (row.adversary.passes() != row.adversary.passes(share=False))


@every_adversary
def test_shared_logits_are_those_of_a_pass_of_ones_own(row: Row) -> None:
    """Dropout's draws included: a shared pass is the one that training would have made."""
    for view in views_of(row, CrossEntropy()):
        if view.logits is not None:
            torch.manual_seed(9)
            assert torch.equal(view.logits, network()(view.images))


@every_adversary
def test_the_global_stream_is_left_alone(row: Row) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    for objective in objectives(row):
        views_of(row, objective, share=False)
        assert torch.equal(torch.get_rng_state(), before)


@every_adversary
def test_the_images_are_left_alone(row: Row) -> None:
    images, labels = data()
    model = network()
    row.adversary.views(Trainee(model, model), images, labels, CrossEntropy(), Stream(0, "adversary"), {})
    assert torch.equal(images, data()[0])
    assert not images.requires_grad


@every_adversary
def test_deterministic_given_a_stream(row: Row) -> None:
    for objective in objectives(row):
        first, second = views_of(row, objective), views_of(row, objective)
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one.images, other.images)


@contextmanager
def counted(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts forward passes, and gradients by what they are taken of."""
    counts = {"forward": 0, "gradient": 0, "weights": 0}
    original = torch.autograd.grad

    def grad(outputs: Any, inputs: Any, *rest: Any, **named: Any) -> Any:
        counts["gradient" if isinstance(inputs, Tensor) else "weights"] += 1
        return original(outputs, inputs, *rest, **named)

    def forward(*_: object) -> None:
        counts["forward"] += 1

    with monkeypatch.context() as patch:
        patch.setattr(torch.autograd, "grad", grad)
        handle = model.register_forward_hook(forward)
        yield counts
        handle.remove()


@every_adversary
@pytest.mark.parametrize("share", [True, False])
def test_declared_passes_are_those_made(row: Row, share: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crafting: forward passes that are not trained on, input gradients, and weight gradients at 2 a view."""
    model = network()
    declared = row.adversary.passes(share=share)
    with counted(model, monkeypatch) as counts:
        views = views_of(row, CrossEntropy(), model, share=share)
        trained = sum(view.logits is not None for view in views)
        with row.adversary.around(Trainee(model, model), lambda: ascend(row, model, views)):
            pass
    crafting = counts["forward"] - trained + counts["gradient"] + 2 * len(views) * counts["weights"]
    if row.adversary.kind == "free":
        crafting += 1  # the pixels' gradient, out of the weights' own backward pass
    assert declared.crafting == crafting
    assert (declared.forward, declared.backward) == (len(views), 2 * len(views))


def ascend(row: Row, model: nn.Module, views: tuple[View, ...]) -> Tensor:
    logits = tuple(model(view.images) for view in views)
    labels = data()[1]
    return row.adversary.loss(logits, labels, lambda _, z: CrossEntropy().loss(z, labels, None)).loss


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_of_costs_is_the_codes(kind: str) -> None:
    """``README.md``: crafting passes and all passes of a step, and these over a supervised step's 3."""
    adversary = KINDS[kind]()
    page = (PAGES / "README.md").read_text(encoding="utf-8").splitlines()
    (row,) = [line for line in page if line.startswith(f"| [{kind}]({kind}.md) |")]
    cost = adversary.passes() * adversary.replays  # type: ignore[attr-defined]
    assert row.endswith(f"| {cost.crafting:g} | {cost.total:g} | {cost.total / 3:.2f} |")


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_names_tests_that_there_are(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text(encoding="utf-8")
    sources = [path.read_text(encoding="utf-8") for path in PAGES.parents[1].glob("tests/*/test_*.py")]
    for name in re.findall(r"`(test_\w+)`", page):
        assert any(f"def {name}(" in source for source in sources), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_documents_every_field(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text(encoding="utf-8").splitlines()
    for name, field in KINDS[kind].model_fields.items():
        (row,) = [line for line in page if line.startswith(f"| `{name}` |")]
        if not isinstance(field.default, Component):
            default = f"{field.default:.4g}" if isinstance(field.default, float) else str(field.default)
            assert f"| `{default}` |" in row, row
        extra = field.json_schema_extra
        assert isinstance(extra, dict) or name == "kind"
        assert str((extra or {}).get("source", "")) in row  # type: ignore[union-attr]
