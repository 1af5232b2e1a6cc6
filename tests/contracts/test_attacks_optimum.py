"""What every attack owes where the best possible is known: on linear classifiers, every attack and norm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reinforced.attacks.base import Attack, AttackResult, run_attack
from reinforced.attacks.losses import margin
from reinforced.attacks.pyaa import PyAutoAttack
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.attacks.transfer import Transfer
from tests.contracts.test_attacks import ATTACKS, LONG

FACTOR = {"optimum": 1.01, "nearest": 1.25, "half": 2.0}
DISTANCE: dict[Norm, float] = {"linf": 0.05, "l2": 0.5}
DUAL: dict[Norm, float] = {"linf": 1, "l2": 2}
"""The order of the norm that a score's weights have where images are measured in the other."""


class Linear(nn.Module):
    """Two classes parted by a plane through mid-grey, and two more that nothing near it is taken for.

    Losses that rank the logits need four classes; the closed form of cross-entropy needs two that matter.
    The weights come in blocks, as Square's squares presume. ``noise`` turns the plane.
    """

    def __init__(self, side: int = 16, noise: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        blocks = torch.randn(1, 1, 4, 4, generator=generator)
        blocks = blocks + noise * torch.randn(1, 1, 4, 4, generator=generator)
        self.w = nn.Parameter(F.interpolate(blocks, size=(side, side)).flatten())

    def forward(self, images: Tensor) -> Tensor:
        score = (images - 0.5).flatten(1) @ self.w
        return torch.stack([-score / 2, score / 2, 0 * score - 30, 0 * score - 40], dim=1)


def beside_the_plane(model: Linear, norm: Norm, n: int = 6) -> tuple[Tensor, Tensor]:
    """Images exactly ``DISTANCE[norm]`` from the plane, on both its sides and far from the box's."""
    w = model.w.detach()
    grey = 0.2 * (torch.rand(n, len(w), generator=torch.Generator().manual_seed(2)) - 0.5)
    on_it = grey - (grey @ w / w.dot(w))[:, None] * w
    side = torch.tensor([1, -1]).repeat(n // 2)
    nearest = w.sign() if norm == "linf" else w / w.norm()
    edge = round(len(w) ** 0.5)
    images = 0.5 + on_it + DISTANCE[norm] * side[:, None] * nearest
    assert images.min() > 0.15
    assert images.max() < 0.85
    return images.view(n, 1, edge, edge), (side > 0).long()


CASES = [
    pytest.param(name, norm, id=f"{name}-{norm}")
    for name, row in (ATTACKS | LONG).items()
    for norm in row.attack.norms
]
IN_A_BALL = [
    pytest.param(name, norm, id=f"{name}-{norm}")
    for name, row in ATTACKS.items()
    for norm in row.attack.norms
    if row.owes != "nearest"
]
every_attack = pytest.mark.parametrize(("name", "norm"), CASES)


def run(name: str, norm: Norm, factor: float) -> tuple[Linear, Tensor, Tensor, AttackResult]:
    """The row's attack at ``factor`` times the distance to the plane."""
    row = (ATTACKS | LONG)[name]
    attack: Attack = row.at or row.attack
    if isinstance(attack, Transfer):  # the row's own surrogate is for other images
        attack = Transfer({"other": Linear(noise=0.3)}, attack.attack)
    model = Linear(row.side)
    images, labels = beside_the_plane(model, norm)
    result = run_attack(attack, model, images, labels, ThreatModel(norm, factor * DISTANCE[norm]), seed=0)
    assert result.clean_correct.all()
    return model, images, labels, result


@every_attack
def test_it_breaks_all_beyond_the_optimum_by_its_factor(name: str, norm: Norm) -> None:
    row = (ATTACKS | LONG)[name]
    _, images, _, result = run(name, norm, FACTOR[row.owes])
    assert not result.robust.any()
    if row.queries is not None:
        assert result.gradients == 0
        assert result.forwards <= row.queries * len(images)
    if row.owes == "nearest":
        assert (result.unprojected >= DISTANCE[norm] * (1 - 1e-4)).all()
        assert (result.unprojected <= DISTANCE[norm] * FACTOR["nearest"]).all()


@pytest.mark.parametrize(("name", "norm"), IN_A_BALL)
def test_it_breaks_none_before_and_still_comes_near(name: str, norm: Norm) -> None:
    """Attacks that keep the best image they failed with owe their part of the margin's possible drop."""
    row, factor = ATTACKS[name], 0.99
    model, images, labels, result = run(name, norm, factor)
    assert result.robust.all()
    if isinstance(row.attack, PyAutoAttack):
        return  # hands the clean image back where it fails
    with torch.no_grad():
        drop = margin(model(result.images), labels) - margin(model(images), labels)
        possible = factor * DISTANCE[norm] * torch.linalg.vector_norm(model.w, ord=DUAL[norm])
    assert (drop <= possible * 1.0001).all()
    assert (drop >= possible / FACTOR[row.owes]).all()
