"""PGD drops an image at its first misclassified iterate, and not for a margin that rounding may turn."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.losses import ROUNDING, margin, rounding
from reinforced.attacks.pgd import PGD
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.streams import Stream

EPSILON = {"linf": 0.06, "l2": 0.3}


class Linear(nn.Module):
    """Three classes; ``sizes`` remembers how many images each call was of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.randn(3, 48, generator=torch.Generator().manual_seed(1))
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        return (images - 0.5).flatten(1) @ self.weight.T


def data(n: int = 40) -> tuple[Tensor, Tensor]:
    """Images near to the boundary and far from it."""
    images = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    return images, Linear()(images).argmax(dim=1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "options",
    ["", "momentum=0.75", "restarts=3", "targeted=true,loss=margin", "random_start=false,loss=gap"],
)
def test_dropping_changes_nothing_but_the_passes(norm: Norm, options: str) -> None:
    images, labels = data()
    threat = ThreatModel(norm, EPSILON[norm])
    model = Linear()
    attack = parse_attack(f"pgd({options})")
    assert isinstance(attack, PGD)

    def proposed(attack: PGD) -> Tensor:
        return attack.candidates(model, Batch(images, labels), threat, Stream(0, "test")).images

    first = margin(model(proposed(attack)), labels) > 0
    assert 0 < first.sum() < len(labels)
    model.sizes.clear()
    strongest = margin(model(proposed(attack.model_copy(update={"keep": "strongest"}))), labels) > 0
    assert set(model.sizes) == {40}
    assert torch.equal(first, strongest)
    model.sizes.clear()
    proposed(attack)
    assert model.sizes == sorted(model.sizes, reverse=True)
    assert model.sizes[-1] == (~first).sum()


def test_every_image_broken_ends_the_attack() -> None:
    images, labels = data()
    threat = ThreatModel("linf", 0.5)
    attack = PGD(steps=50, restarts=4)
    model = Linear()
    output = attack.candidates(model, Batch(images, labels), threat, Stream(0, "test"))
    assert (margin(model(output.images), labels) > 0).all()
    assert output.trace is not None
    assert output.trace.shape == (len(model.sizes) - 1, 40)
    assert len(model.sizes) < 50
    result = run_attack(attack, model, images, labels, threat, seed=0)
    assert result.forwards < 10 * 40
    assert result.gradients <= result.forwards


def test_the_trace_of_a_dropped_image_stands_still() -> None:
    images, labels = data()
    threat = ThreatModel("linf", EPSILON["linf"])
    output = PGD(steps=20).candidates(Linear(), Batch(images, labels), threat, Stream(0, "test"))
    assert output.trace is not None
    broken = margin(Linear()(output.images), labels) > 0
    assert output.trace.shape == (21, 40)
    assert torch.equal(output.trace[-1, broken], output.trace[-2, broken])
    assert (output.trace[-1, ~broken] != output.trace[0, ~broken]).all()


class Wavering(nn.Module):
    """One pixel decides. Rounding, here 1e-6, is for the label where fewer than ``full`` images come."""

    def __init__(self, full: int) -> None:
        super().__init__()
        self.full = full

    def forward(self, images: Tensor) -> Tensor:
        score = 4 * (images[:, 0, 0, 0] - 0.5)
        score = score - (1e-6 if len(images) < self.full else 0)
        return torch.stack([1 - score, 1 + score], dim=1)


@pytest.mark.parametrize("keep", ["first", "strongest"])
def test_a_margin_that_rounding_may_turn_is_not_relied_on(keep: str) -> None:
    # After one step the margin is 8e-7 in the whole batch; alone, the image would be found right.
    images, labels = torch.full((4, 1, 1, 1), 0.5), torch.zeros(4, dtype=torch.int64)
    start = images - 0.01
    attack = PGD(steps=3, step=0.01 + 1e-7, random_start=False, loss="margin", keep=keep)
    model = Wavering(full=4)
    result = run_attack(attack, model, start, labels, ThreatModel("linf", 0.1), seed=0)
    assert not result.robust.any()
    alone = torch.cat([model(image) for image in torch.split(result.images, 1)])
    assert (alone.argmax(dim=1) == 1).all()


def test_a_slim_margin_is_still_better_than_none() -> None:
    images, labels = torch.full((4, 1, 1, 1), 0.49), torch.zeros(4, dtype=torch.int64)
    attack = PGD(steps=1, step=0.01 + 1e-5, random_start=False, loss="margin")
    result = run_attack(attack, Wavering(full=0), images, labels, ThreatModel("linf", 0.1), seed=0)
    assert not result.robust.any()


def test_rounding_is_a_part_of_the_largest_logit() -> None:
    logits = torch.tensor([[1.0, -8.0, 2.0], [0.0, 0.0, 0.0], [torch.inf, 0.0, 1.0], [torch.nan, 0.0, 1.0]])
    assert torch.equal(rounding(logits), torch.tensor([8 * ROUNDING, 0.0, -torch.inf, -torch.inf]))
