"""Channels last: the same logits, and networks that cannot take it."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reinforced.models import build, channels_last
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.run import load_model

HEAD = "import torch\nfrom torch import Tensor, nn\n\n\n"
NETWORK = ("model.name=viewing:made", "model.normalize=none", "data.source=synthetic:10x8")
TAIL = "\n\ndef made():\n    return Viewing()\n"


class Viewing(nn.Module):
    """Flattens with ``view``, which only contiguous features allow."""

    def __init__(self) -> None:
        super().__init__()
        self.convolve, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4 * 6 * 6, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.convolve(x).view(len(x), -1))
        return logits


def test_logits_and_gradients_are_the_same_but_for_rounding() -> None:
    images = torch.rand(4, 3, 16, 16, requires_grad=True)
    model = build("cnn6_small", shape=(3, 16, 16), classes=10).eval()
    before = model(images)
    (slope,) = torch.autograd.grad(before.sum(), images)
    assert channels_last(model, (3, 16, 16), 10) is model
    assert model.network[3].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index, union-attr]
    after = model(images)
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(torch.autograd.grad(after.sum(), images)[0], slope)


def test_a_network_that_cannot_take_it_stays_as_it_was() -> None:
    model = Viewing().train()
    images = torch.rand(2, 3, 8, 8)
    before = model(images)
    assert channels_last(model, (3, 8, 8), 10).training
    assert torch.equal(model(images), before)
    assert model.convolve.weight.is_contiguous()


def test_images_of_any_layout_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "viewing.py").write_text(inspect.getsource(Viewing).join((HEAD, TAIL)))
    monkeypatch.syspath_prepend(tmp_path)
    model = build("viewing:made", shape=(3, 8, 8), classes=10)
    images = torch.rand(2, 3, 8, 8)
    expected = model(images)
    assert torch.equal(model(images.contiguous(memory_format=torch.channels_last)), expected)
    recipe = load_recipe(
        "quickstart/sl",
        overrides=[
            *NETWORK,
            "data.limit=192",
            "phases.0.epochs=1",
            "probe={train_images: 8, validation_images: 4}",
        ],
    )
    summary = train(recipe, tmp_path / "run", device=torch.device("cpu"))
    assert summary["epochs"] == 1
    assert load_model(tmp_path / "run")(images).shape == (2, 10)
