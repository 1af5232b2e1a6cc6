"""The sources that make or carry their images: digits and synthetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from reinforced.data import load
from reinforced.data.store import digest


def test_digits_are_scikit_learns() -> None:
    data = load("digits")
    assert (len(data.train), len(data.validation), len(data.test)) == (1197, 300, 300)
    assert data.train.shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert data.train.images.max() == 255
    bunch = load_digits()
    expected = torch.from_numpy(np.round(bunch.images * 255 / 16)).to(torch.uint8)
    assert torch.equal(data.train.images[..., 0], expected)
    assert data.train.index is not None
    assert data.train.labels.tolist() == bunch.target[data.train.index.numpy()].tolist()
    assert data.sha256 == digest(data.train.images.numpy(), bunch.target)


def test_digits_split_never_changes() -> None:
    data = load("digits", split_seed=5, validation=0.3)
    assert data.test.index is not None
    assert data.test.index[:6].tolist() == [6, 17, 18, 27, 31, 35]


@pytest.mark.parametrize(("source", "train", "test"), [("100x8", 2000, 500), ("7x4", 1001, 252)])
def test_synthetic_sizes(source: str, train: int, test: int) -> None:
    data = load(f"synthetic:{source}", validation=0)
    assert (len(data.train), len(data.test)) == (train, test)
    side = int(source.split("x")[1])
    assert data.train.shape == (3, side, side)
    assert data.name == f"synthetic:{source} (made up)"


def test_synthetic_is_the_same_every_time_and_learnable() -> None:
    data = load("synthetic:20x8")
    assert data.sha256 == load("synthetic:20x8").sha256 != load("synthetic:20x9").sha256
    train, test = (split.to("cpu") for split in (data.train, data.test))
    means = torch.stack([train.images[train.labels == k].float().mean(0) for k in range(20)])
    nearest = torch.cdist(test.images.float().flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == test.labels).float().mean() > 0.9


@pytest.mark.parametrize("argument", ["", "x", "100", "1x32", "0x32", "10x3", "10x-8", "10x8x3", "10 x 8"])
def test_synthetic_arguments(refused: Callable[..., str], argument: str) -> None:
    assert "synthetic:100x32" in refused(f"synthetic:{argument}")


def test_synthetic_has_the_size_of_its_name(refused: Callable[..., str]) -> None:
    assert "holds 8 x 8 images" in refused("synthetic:10x8", size=16)
    assert load("synthetic:10x8", size=8).train.shape == (3, 8, 8)
