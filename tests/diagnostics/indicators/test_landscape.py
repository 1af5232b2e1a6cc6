"""Planes, grids and slices of models whose landscape is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.adaptive import fill
from reinforced.diagnostics.indicators.base import lent
from reinforced.diagnostics.indicators.cells import Cells
from reinforced.diagnostics.indicators.landscape import landscape, slices
from reinforced.diagnostics.indicators.pictures import decision_picture, loss_picture, save_picture
from reinforced.diagnostics.indicators.plane import Plane, adversarial_plane
from reinforced.errors import ReinforcedError

THREATS = [ThreatModel("linf", 0.1), ThreatModel("l2", 0.2)]


@pytest.fixture
def network() -> nn.Module:
    """Convolutional, with dropout, in train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(16, 4),
        ).train()


@pytest.fixture
def plane(network: nn.Module, images: Tensor) -> Plane:
    return adversarial_plane(network, images[0], 1, THREATS[0], seed=3)


@pytest.mark.parametrize("threat", THREATS, ids=str)
def test_directions_are_epsilon_long_and_at_right_angles(
    network: nn.Module, images: Tensor, threat: ThreatModel
) -> None:
    plane = adversarial_plane(network, images[0], 1, threat, seed=3)
    for each in (plane.adversarial, plane.random):
        length = each.abs().max() if threat.norm == "linf" else each.norm()
        assert float(length) == pytest.approx(threat.epsilon, rel=1e-5)
    cosine = nn.functional.cosine_similarity(plane.adversarial.flatten(), plane.random.flatten(), dim=0)
    assert abs(float(cosine)) < 1e-5
    again = adversarial_plane(network, images[0], 1, threat, seed=3)
    assert torch.equal(plane.random, again.random)
    other = adversarial_plane(network, images[0], 1, threat, seed=4)
    assert not torch.equal(plane.random, other.random)
    assert network.training


def test_no_budget_no_plane(network: nn.Module, images: Tensor) -> None:
    with pytest.raises(ReinforcedError, match="no plane"):
        adversarial_plane(network, images[0], 1, ThreatModel("linf", 0))


def one_at_a_time(
    model: nn.Module, plane: Plane, size: int, span: float, clip: bool
) -> tuple[Tensor, Tensor]:
    axis = torch.linspace(-span, span, size)
    loss, decision = torch.empty(size, size), torch.empty(size, size, dtype=torch.int64)
    model = model.eval()
    with torch.no_grad():
        for row, b in enumerate(axis):
            for column, a in enumerate(axis):
                x = plane.image + a * plane.adversarial + b * plane.random
                logits = model((x.clamp(0, 1) if clip else x)[None])
                loss[row, column] = nn.functional.cross_entropy(logits, torch.tensor([plane.label]))
                decision[row, column] = logits.argmax()
    return loss, decision


@pytest.mark.parametrize("clip", [False, True])
def test_the_exact_grid_is_that_of_one_image_at_a_time(network: nn.Module, plane: Plane, clip: bool) -> None:
    found = landscape(network, plane, size=11, span=8, clip=clip)
    loss, decision = one_at_a_time(network, plane, 11, 8, clip)
    torch.testing.assert_close(found.loss, loss.double(), rtol=0, atol=1e-5)
    assert torch.equal(found.decision, decision)
    assert found.evaluated.all()
    assert found.forwards == 121
    assert sum(found.regions.values()) == pytest.approx(1)


def test_a_linear_model_has_straight_slices(linear: nn.Module, images: Tensor) -> None:
    """Along the adversarial axis the margin falls by epsilon times the L1 slope, so the border is known."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        label = int(model(images[:1]).argmax())
        logits = model(images[:1])[0]
    head = model[1]
    assert isinstance(head, nn.Linear)
    slope = float((head.weight[0] - head.weight[1]).abs().sum().detach())
    lead = float((logits[label] - logits[1 - label]).abs())
    threat = ThreatModel("linf", lead / slope / 1.75)
    plane = adversarial_plane(model, images[0], label, threat, loss="margin")
    cut = slices(model, plane, size=601, loss="margin")
    nearest = cut.nearest_other()
    assert nearest is not None
    assert nearest == pytest.approx(1.75, abs=0.011)
    torch.testing.assert_close(cut.loss[0], -lead + slope * threat.epsilon * cut.at, rtol=1e-4, atol=1e-4)
    assert slices(model, plane, size=601, span=1.5).nearest_other() is None


def smooth(size: int) -> tuple[Tensor, list[int]]:
    """Three smooth logits over a grid and beyond, and a counter of those asked for."""
    at = torch.arange(size + 16, dtype=torch.float64) / size
    y, x = torch.meshgrid(at, at, indexing="ij")
    logits = torch.stack([3 * (x - 0.5).square() + y, torch.sin(5 * x) + y, 1 + (4 * x * y).cos()], dim=-1)
    return logits, []


def test_adaptive_fills_a_smooth_grid_from_a_seventh(plane: Plane) -> None:
    size = 120
    logits, asked = smooth(size)

    def ask(rows: Tensor, columns: Tensor) -> Tensor:
        asked.append(len(rows))
        return logits[rows, columns]

    filled = fill(ask, size, 1, "ce")
    inside = logits[:size, :size]
    loss = inside.logsumexp(dim=-1) - inside[..., 1]
    assert sum(asked) <= 0.15 * size**2
    assert 0 < filled.evaluated.sum() <= sum(asked)
    assert (filled.decision != inside.argmax(dim=-1)).double().mean() < 0.001
    assert (filled.loss - loss).abs().max() < 1e-3 * (loss.max() - loss.min())
    known = filled.evaluated
    torch.testing.assert_close(filled.loss[known], loss[known])
    assert torch.equal(filled.decision[known], inside.argmax(dim=-1)[known])


def test_adaptive_on_a_network(network: nn.Module, plane: Plane) -> None:
    exact = landscape(network, plane, size=100)
    part = landscape(network, plane, size=100, adaptive=True)
    assert part.forwards <= 1500
    assert part.evaluated.sum() < part.forwards + 1
    span = exact.loss.max() - exact.loss.min()
    assert (part.loss - exact.loss).abs().max() < 0.01 * span
    assert (part.decision != exact.decision).double().mean() < 0.005
    torch.testing.assert_close(part.loss[part.evaluated], exact.loss[part.evaluated], rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [2, 3, 9])
def test_small_adaptive_grids_are_whole(network: nn.Module, plane: Plane, size: int) -> None:
    part = landscape(network, plane, size=size, adaptive=True)
    assert part.evaluated.all()
    torch.testing.assert_close(part.loss, landscape(network, plane, size=size).loss, rtol=0, atol=1e-5)


def test_networks_that_flatten_with_view_keep_their_layout() -> None:
    class Flattening(nn.Module):
        def __init__(self, view: bool) -> None:
            super().__init__()
            self.convolution, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(64, 3)
            self.view = view

        def forward(self, x: Tensor) -> Tensor:
            features = self.convolution(x)
            logits: Tensor = self.head(features.view(len(x), -1) if self.view else features.flatten(1))
            return logits

    image, label = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1])
    layouts = []
    for view in (False, True):
        model = Flattening(view)
        plane = adversarial_plane(model, image, 1, THREATS[0])
        with lent(model, image[None], label) as meter:
            layouts.append(Cells(meter, plane).layout)
        landscape(model, plane, size=4)
    assert layouts == [torch.channels_last, torch.contiguous_format]


def test_pictures(network: nn.Module, plane: Plane, tmp_path: Path) -> None:
    found = landscape(network, plane, size=20, span=8)
    loss = loss_picture(found)
    brightness = loss.astype(float).sum(axis=-1)
    lowest = divmod(int(found.loss.argmin()), 20)
    highest = divmod(int(found.loss.argmax()), 20)
    assert brightness[19 - lowest[0], lowest[1]] < brightness[19 - highest[0], highest[1]]
    colours = decision_picture(found)
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) == len(found.regions)
    save_picture(tmp_path / "loss.png", loss, scale=3)
    with Image.open(tmp_path / "loss.png") as picture:
        assert picture.size == (60, 60)
