"""What every training adversary owes: a new one gets all of these checks with one row of ``ADVERSARIES``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from reinforced.component import Component
from reinforced.objectives import CrossEntropy, ExpectedPG, Objective, Reinforce
from reinforced.streams import Stream
from reinforced.training.adversaries import FGSM, Adversary, AnyAdversary, NoAdversary, Views


@dataclass(frozen=True)
class Row:
    """An adversary and what its page promises: L-inf distance of each view, loss weights, passes."""

    adversary: Adversary
    reach: tuple[float, ...]
    weights: tuple[float, ...]
    passes: float


ADVERSARIES = {
    "none": Row(NoAdversary(), (0,), (1,), 0),
    "fgsm": Row(FGSM(), (0, 0.01), (1, 1), 2),
    "fgsm-strong": Row(FGSM(epsilon=8 / 255, weight=0.2), (0, 8 / 255), (1, 0.2), 2),
    "fgsm-sampled": Row(FGSM(craft="sampled"), (0, 0.01), (1, 1), 2),
}
KINDS: dict[str, type[Component]] = {
    member.model_fields["kind"].default: member for member in get_args(get_args(AnyAdversary)[0])
}
PAGES = Path(__file__).parents[2] / "docs" / "adversaries"
TOLERANCE = 1e-7  # rounding of image + epsilon in float32

every_adversary = pytest.mark.parametrize("row", ADVERSARIES.values(), ids=ADVERSARIES)
every_objective = pytest.mark.parametrize(
    "objective", [CrossEntropy(), ExpectedPG(), Reinforce(exploration=0.1)], ids=lambda row: str(row.kind)
)


def dropout_model() -> nn.Module:
    """A small network in train mode, with dropout, the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Dropout(0.3),
            nn.AvgPool2d(4), nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip


def data() -> tuple[Tensor, Tensor]:
    """32 images, a quarter of their pixels at the ends of [0,1]."""
    images = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return (1.25 * images - 0.125).clamp(0, 1), torch.arange(32) % 5


def crafted(row: Row, objective: Objective, model: nn.Module | None = None, seed: int = 0) -> Views:
    torch.manual_seed(9)  # dropout's
    return row.adversary.views(model or dropout_model(), *data(), objective, Stream(seed, "adversary"))


def test_every_adversary_has_a_row() -> None:
    assert {row.adversary.kind for row in ADVERSARIES.values()} == set(KINDS)


@every_adversary
@every_objective
def test_views_are_images_within_epsilon(row: Row, objective: Objective) -> None:
    images, _ = data()
    views = crafted(row, objective)
    assert tuple(view.weight for view in views.trained) == row.weights
    assert views.passes == row.passes
    for view, reach in zip(views.trained, row.reach, strict=True):
        assert view.images.shape == images.shape
        assert view.images.dtype is torch.float32
        assert not view.images.requires_grad
        assert view.images.min() >= 0
        assert view.images.max() <= 1
        distance = (view.images - images).abs().max()
        assert distance <= reach + TOLERANCE
        assert distance >= reach - TOLERANCE  # and it goes the whole way


@every_adversary
def test_weights_and_their_gradients_are_left_alone(row: Row) -> None:
    model = dropout_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    crafted(row, CrossEntropy(), model)
    assert all(weight.grad is None and weight.requires_grad for weight in model.parameters())
    for weight in model.parameters():
        weight.grad = torch.full_like(weight, 7)
    crafted(row, CrossEntropy(), model)
    for weight in model.parameters():
        assert weight.grad is not None
        assert (weight.grad == 7).all()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@every_adversary
@every_objective
def test_the_global_stream_is_left_alone(row: Row, objective: Objective) -> None:
    torch.manual_seed(9)
    before = torch.get_rng_state()
    crafted(row, objective)
    assert torch.equal(torch.get_rng_state(), before)


@every_adversary
def test_the_images_are_left_alone(row: Row) -> None:
    images, labels = data()
    row.adversary.views(dropout_model(), images, labels, CrossEntropy(), Stream(0, "adversary"))
    assert torch.equal(images, data()[0])
    assert not images.requires_grad


@every_adversary
@every_objective
def test_deterministic_given_a_stream(row: Row, objective: Objective) -> None:
    first, second = crafted(row, objective), crafted(row, objective)
    for one, other in zip(first.trained, second.trained, strict=True):
        assert torch.equal(one.images, other.images)


@every_adversary
def test_the_first_view_is_the_clean_images(row: Row) -> None:
    assert torch.equal(crafted(row, CrossEntropy()).trained[0].images, data()[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_documents_every_field(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text(encoding="utf-8").splitlines()
    for name, field in KINDS[kind].model_fields.items():
        (row,) = [line for line in page if line.startswith(f"| `{name}` |")]
        assert f"| `{field.default}` |" in row
        extra = field.json_schema_extra
        assert isinstance(extra, dict) or name == "kind"
        assert str((extra or {}).get("source", "")) in row  # type: ignore[union-attr]


class Linear(nn.Module):
    """Two classes, ``logits[1] - logits[0] = w . x``: the sign of every input gradient is known."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.w = torch.randn(192, generator=torch.Generator().manual_seed(2))
        self.norm = nn.BatchNorm1d(2) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.w
        logits: Tensor = self.norm(torch.stack([-score, score], dim=1) / 2)
        return logits


def test_fgsm_on_a_linear_model_is_the_closed_form() -> None:
    images, labels = data()[0], torch.arange(32) % 2
    views = FGSM(epsilon=0.05).views(Linear(), images, labels, CrossEntropy(), Stream(0, "adversary"))
    away = (1 - 2 * labels).view(-1, 1, 1, 1) * Linear().w.sign().view(1, 3, 8, 8)
    assert torch.allclose(views.trained[1].images, (images + 0.05 * away).clamp(0, 1), atol=TOLERANCE)


def moved(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Which images FGSM moved on Reinforce's sampled loss, and which earned their reward."""
    images, labels = data()[0], torch.arange(32) % 2
    objective = Reinforce()
    views = FGSM(craft="sampled").views(model, images, labels, objective, Stream(0, "adversary"))
    rollout = objective.rollout(model(images), labels, Stream(0, "adversary"))
    return (views.trained[1].images != images).flatten(1).any(1), rollout.rewards[0] == 1


def test_sampled_crafting_moves_only_the_images_that_earned_a_reward() -> None:
    changed, earned = moved(Linear())
    assert torch.equal(changed, earned)
    assert 0 < earned.sum() < 32


def test_batch_norm_in_train_mode_lets_sampled_crafting_move_every_image() -> None:
    """The batch's statistics carry the other images' losses, and a sign has no small values."""
    changed, earned = moved(Linear(norm=True))
    assert changed.all()
    assert not earned.all()


def test_fgsm_in_train_mode_moves_batch_norms_running_statistics() -> None:
    images, labels = data()[0], torch.arange(32) % 2
    model = Linear(norm=True)
    FGSM().views(model, images, labels, CrossEntropy(), Stream(0, "adversary"))
    assert isinstance(model.norm, nn.BatchNorm1d)
    assert model.norm.num_batches_tracked == 1
    FGSM().views(model.eval(), images, labels, CrossEntropy(), Stream(0, "adversary"))
    assert model.norm.num_batches_tracked == 1
