from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reinforced.data import Dataset, Split, dataset, load, place, to_float

Pictures = Callable[..., np.ndarray[Any, Any]]


@pytest.fixture
def mapped(tmp_path: Path, pictures: Pictures, png: Callable[..., bytes]) -> tuple[Dataset, Any]:
    """A memory-mapped dataset of 24 images, and the images in the order of the store."""
    array = pictures(24)
    for k, pixels in enumerate(array):
        file = tmp_path / "images" / "ab"[k // 12] / f"{k:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    return load(f"folder:{tmp_path / 'images'}", validation=0.25), array


@given(st.lists(st.integers(0, 5), max_size=12))
def test_batch_takes_rows_in_any_order(rows: list[int]) -> None:
    store = torch.arange(10 * 2 * 3 * 1).to(torch.uint8).view(10, 2, 3, 1)
    index = torch.tensor([9, 0, 4, 4, 7, 2])
    split = Split(store, torch.tensor([5, 4, 3, 2, 1, 0]), index)
    images, labels = split.batch(torch.tensor(rows, dtype=torch.int64))
    assert torch.equal(images, store[index[rows]])
    assert labels.tolist() == [5 - row for row in rows]


def test_split_knows_its_shape_and_length() -> None:
    split = Split(
        torch.zeros(10, 2, 3, 1, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), torch.arange(4)
    )
    assert split.shape == (1, 2, 3)
    assert len(split) == 4


def test_memory_map_gives_the_right_images_for_unsorted_rows(mapped: tuple[Dataset, Any]) -> None:
    data, array = mapped
    split = data.train
    assert split.index is not None
    rows = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
    images, labels = split.batch(rows)
    assert np.array_equal(images.numpy(), array[split.index[rows].numpy()])
    assert torch.equal(labels, (split.index[rows] >= 12).long())


def test_to_keeps_the_splits_own_images_only(mapped: tuple[Dataset, Any]) -> None:
    data, _ = mapped
    moved = data.to("cpu")
    for name in dataset.SPLITS:
        before, after = getattr(data, name), getattr(moved, name)
        rows = torch.arange(len(before))
        assert after.index is None
        assert len(after.images) == len(before)
        assert torch.equal(after.batch(rows)[0], before.batch(rows)[0])
        assert torch.equal(after.labels, before.labels)


def test_place_moves_what_takes_under_half_of_the_memory(
    mapped: tuple[Dataset, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, array = mapped
    monkeypatch.setattr(dataset, "_free_memory", lambda device: 2 * array.nbytes)
    assert place(data, "cpu") is data
    monkeypatch.setattr(dataset, "_free_memory", lambda device: 2 * array.nbytes + 1)
    assert place(data, "cpu").train.index is None


def test_free_memory_is_known() -> None:
    assert 1e6 < dataset._free_memory(torch.device("cpu")) < 1e14


@pytest.mark.parametrize("channels", [1, 3])
def test_to_float_is_channels_last_and_exact(channels: int) -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(channels * 2).view(2, 16, 16, channels)
    before = images.clone()
    floats = to_float(images)
    assert floats.shape == (2, channels, 16, 16)
    assert floats.is_contiguous(memory_format=torch.channels_last)
    assert floats.min() == 0
    assert floats.max() == 1
    assert torch.equal((floats * 255).round().to(torch.uint8).permute(0, 2, 3, 1), before)
    assert torch.equal(images, before)
    assert to_float(images, torch.float64).dtype == torch.float64
