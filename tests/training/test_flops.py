"""The count of a step's operations: closed forms, double backward, and no influence on results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.training import loop
from reinforced.training.checkpoint import weights_hash
from reinforced.training.flops import CountFlops
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]
Figures = Callable[[Path], list[dict[str, Any]]]
BATCH = 4
CONV = BATCH * 8 * 64 * 3 * 9  # multiply-adds of 3 -> 8 channels, 3 x 3, on 8 x 8 pixels
LINEAR = BATCH * 512 * 5


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 5))


def data() -> tuple[Tensor, Tensor]:
    return torch.rand(BATCH, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(BATCH)


def counted(action: Callable[[], object]) -> int:
    with CountFlops() as counter:
        action()
    total: int = counter.total
    return total


def test_a_forward_pass_is_two_a_multiply_add() -> None:
    model, (images, _) = network(), data()
    assert counted(lambda: model(images)) == 2 * (CONV + LINEAR)
    with torch.no_grad():
        assert counted(lambda: model(images)) == 2 * (CONV + LINEAR)


def test_a_backward_pass_is_twice_that_without_the_images_gradient() -> None:
    model, (images, labels) = network(), data()
    loss = F.cross_entropy(model(images), labels)
    assert counted(loss.backward) == 4 * (CONV + LINEAR) - 2 * CONV


def test_the_images_gradient_costs_the_first_layer_once_more() -> None:
    model, (images, labels) = network(), data()
    loss = F.cross_entropy(model(images.requires_grad_()), labels)
    assert counted(loss.backward) == 4 * (CONV + LINEAR)


def test_an_input_gradient_alone_is_as_much_as_a_forward_pass() -> None:
    model, (images, labels) = network(), data()
    loss = F.cross_entropy(model(images.requires_grad_()), labels)
    assert counted(lambda: torch.autograd.grad(loss, images)) == 2 * (CONV + LINEAR)


def test_double_backward_is_counted() -> None:
    """One linear layer, ``g = (p - y) W``: g, then d W and d p of it, then d W through the logits."""
    images, labels = data()
    flat = images.flatten(1).requires_grad_()
    layer = nn.Linear(192, 5)
    once = 2 * BATCH * 192 * 5

    def penalise() -> None:
        loss = F.cross_entropy(layer(flat), labels)
        (gradient,) = torch.autograd.grad(loss, flat, create_graph=True)
        torch.autograd.grad(gradient.square().sum(), layer.weight)

    assert counted(penalise) == once * (1 + 1 + 2 + 1)


def test_element_wise_operations_count_nothing() -> None:
    assert counted(lambda: torch.rand(9, 9).exp().sum()) == 0


def test_a_runs_count_is_its_steps(make: Make, fit: Fit, figures: Figures, tmp_path: Path) -> None:
    """A linear model: forward and weights' gradient; FGSM has two views, and one images' gradient."""
    summary = fit(
        make(phases=[{"epochs": 1}, {"epochs": 2, "adversary": {"kind": "fgsm"}}]), tmp_path / "run"
    )
    once = 2 * 96 * 64 * 10
    # The clean view's images are a leaf, whose gradient the trained backward pass takes once more.
    expected = [2 * once, (2 + 6) * once, (2 + 12) * once]
    assert [row["flops"] for row in figures(tmp_path / "run")] == expected
    assert summary["flops"] == expected[-1]


class Uncounted:
    total = 0


@contextmanager
def nothing() -> Iterator[Uncounted]:
    yield Uncounted()


@pytest.mark.parametrize("adversary", ["trades", "free"])
def test_counting_changes_no_bit(
    make: Make,
    fit: Fit,
    figures: Figures,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    adversary: str,
) -> None:
    regularisers = [{"kind": "gradient_alignment"}]
    recipe = make(
        model={"name": "user_networks:noisy"},
        phases=[{"epochs": 1, "adversary": {"kind": adversary}, "regularisers": regularisers}],
    )
    fit(recipe, tmp_path / "counted")
    monkeypatch.setattr(loop, "CountFlops", nothing)
    fit(recipe, tmp_path / "plain")
    one, other = RunDirectory(tmp_path / "counted"), RunDirectory(tmp_path / "plain")
    assert weights_hash(one.state) == weights_hash(other.state)
    (row,), (plain,) = figures(one.path), figures(other.path)
    assert row.pop("flops") > plain.pop("flops") == 0
    assert row == plain
