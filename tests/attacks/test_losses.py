"""The attack losses: values worked by hand, gradients that survive float32, and the classes they need."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from reinforced.attacks.losses import Loss, attack_loss, likely_targets, margin
from reinforced.errors import ReinforcedError

LOSSES: tuple[Loss, ...] = get_args(Loss)
Z = torch.tensor([[4.0, 1.0, 3.0, 0.0]])


def softplus_sum(*gaps: float) -> float:
    return math.log1p(sum(math.exp(gap) for gap in gaps))


@pytest.mark.parametrize(
    ("kind", "label", "target", "value"),
    [
        ("ce", 0, None, softplus_sum(-3, -1, -4)),
        ("ce", 0, 2, -softplus_sum(1, -2, -3)),
        ("margin", 0, None, -1),
        ("margin", 1, None, 3),
        ("margin", 0, 1, -3),
        ("dlr", 0, None, -1 / 3),
        ("dlr", 1, None, 3 / 3),
        ("dlr", 0, 1, -3 / 3.5),
        ("gap", 0, None, softplus_sum(-3, -1, -4)),
        ("gap", 0, 2, -softplus_sum(1, -2, -3)),
    ],
)
def test_known_values(kind: Loss, label: int, target: int | None, value: float) -> None:
    targets = None if target is None else torch.tensor([target])
    found = attack_loss(kind, Z, torch.tensor([label]), targets)
    assert found.shape == (1,)
    assert found.item() == pytest.approx(value, rel=1e-6)


def test_gap_is_cross_entropy_with_the_top_two_one_apart() -> None:
    z = torch.randn(32, 6, generator=torch.Generator().manual_seed(0))
    y = torch.arange(32) % 6
    top = z.topk(2, dim=1).values
    rescaled = z / (top[:, :1] - top[:, 1:])
    assert torch.allclose(attack_loss("gap", z, y), attack_loss("ce", rescaled, y), rtol=1e-4, atol=1e-4)


def gradient(kind: Loss, z: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
    z = z.clone().requires_grad_()
    (found,) = torch.autograd.grad(attack_loss(kind, z, labels, targets).sum(), z)
    return found


@pytest.mark.parametrize("kind", ["margin", "dlr", "gap"])
@pytest.mark.parametrize("targeted", [False, True])
def test_direction_does_not_depend_on_the_logits_scale(kind: Loss, targeted: bool) -> None:
    z = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    labels = z.argmax(dim=1)
    targets = z.argmin(dim=1) if targeted else None
    small = torch.nn.functional.normalize(gradient(kind, z, labels, targets))
    for scale in (1e-3, 1e4):
        large = torch.nn.functional.normalize(gradient(kind, z * scale, labels, targets))
        # Where the top two are near, float32 knows their distance to fewer digits.
        assert torch.allclose(small, large, atol=1e-3)


def test_cross_entropy_does_saturate() -> None:
    z = torch.tensor([[120.0, 0, 1, 2]])
    assert torch.equal(gradient("ce", z, torch.tensor([0])), torch.zeros(1, 4))


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("targeted", [False, True])
def test_finite_at_extremes_ties_and_half_precision(kind: Loss, targeted: bool) -> None:
    z = torch.tensor([[0.0, 0, 0, 0, 0], [1e4, -1e4, 0, 5, 5], [1, 1, 0, 0, 0], [3e-8, 0, 1e-8, 0, 0]])
    labels = torch.zeros(4, dtype=torch.int64)
    targets = torch.ones(4, dtype=torch.int64) if targeted else None
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        loss = attack_loss(kind, z.to(dtype), labels, targets)
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert loss.isfinite().all()
        assert gradient(kind, z.to(dtype), labels, targets).isfinite().all()


@pytest.mark.parametrize("kind", LOSSES)
def test_each_image_has_its_own_gradient(kind: Loss) -> None:
    z = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 5
    alone = torch.cat([gradient(kind, z[i : i + 1], labels[i : i + 1]) for i in range(6)])
    assert torch.equal(gradient(kind, z, labels), alone)


@pytest.mark.parametrize(
    ("kind", "classes", "targeted", "message"),
    [
        ("dlr", 2, False, "loss dlr: needs 3 classes, the model has 2; use loss=margin or loss=gap"),
        ("dlr", 3, True, "targeted loss dlr: needs 4 classes, the model has 3; use loss=margin or loss=gap"),
        ("ce", 1, False, "the model has 1 logit; attacks need one a class"),
    ],
)
def test_too_few_classes_are_refused(kind: Loss, classes: int, targeted: bool, message: str) -> None:
    labels = torch.zeros(2, dtype=torch.int64)
    with pytest.raises(ReinforcedError) as caught:
        attack_loss(kind, torch.zeros(2, classes), labels, labels if targeted else None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_margin_and_likely_targets() -> None:
    z, labels = torch.cat([Z, Z]), torch.tensor([0, 1])
    assert margin(z, labels).tolist() == [-1, 3]
    assert likely_targets(z, labels, 2).tolist() == [[2, 0], [1, 2]]
    assert likely_targets(z, labels, 9).shape == (3, 2)
