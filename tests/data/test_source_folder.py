from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reinforced.data import load

Array = np.ndarray[Any, Any]
Fill = Callable[..., Path]


@pytest.fixture
def fill(tmp_path: Path, pictures: Callable[..., Array], png: Callable[..., bytes]) -> Fill:
    """Put ``count`` images into a folder below ``images/``; give ``images/``."""

    def into(name: str, count: int, side: int = 6, seed: int = 0) -> Path:
        folder = tmp_path / "images" / name
        folder.mkdir(parents=True)
        for k, pixels in enumerate(pictures(count, side, seed=seed)):
            (folder / f"{k:03}.png").write_bytes(png(pixels))
        return tmp_path / "images"

    return into


def test_train_and_test_folders(
    fill: Fill, pictures: Callable[..., Array], refused: Callable[..., str]
) -> None:
    fill("train/cat", 10, seed=0)
    fill("train/dog/deeper", 10, seed=1)
    folder = fill("val/dog", 3, seed=2)
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    assert "class 'cat' has no images" in refused(f"folder:{folder}")
    fill("val/cat", 2, seed=3)
    data = load(f"folder:{folder}", validation=0.2)
    assert data.classes == ("cat", "dog")
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 5)
    images, labels = data.test.batch(torch.arange(5))
    assert sorted(labels.tolist()) == [0, 0, 1, 1, 1]
    assert labels.tolist() != sorted(labels.tolist()), "the first ones would be cats alone"
    for label, known in enumerate((pictures(2, seed=3), pictures(3, seed=2))):
        found = {image.numpy().tobytes() for image in images[labels == label]}
        assert found == {image.tobytes() for image in known}


def test_class_folders_alone_give_a_fixed_tenth_to_the_test(fill: Fill) -> None:
    fill("cat", 20)
    folder = fill("dog", 40, seed=1)
    first, other = (load(f"folder:{folder}", split_seed=seed) for seed in (0, 1))
    assert sorted(first.test.labels.tolist()) == [0] * 2 + [1] * 4
    assert first.test.index is not None
    assert other.test.index is not None
    assert first.test.index.tolist() == other.test.index.tolist()
    assert (len(first.train), len(first.validation)) == (49, 5)


def test_cached_until_a_file_changes(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    fill("cat", 20)
    folder = fill("dog", 20, seed=1)
    first = load(f"folder:{folder}")
    (folder / "dog" / "000.png").write_bytes((folder / "cat" / "000.png").read_bytes())
    assert load(f"folder:{folder}").sha256 != first.sha256
    monkeypatch.setattr("reinforced.data.decoded.decode", None)
    load(f"folder:{folder}")


def test_a_hidden_folder_is_passed_over(fill: Fill) -> None:
    folder = fill("cat", 20)
    before = load(f"folder:{fill('dog', 20)}")
    fill("dog/.trash/old", 5, seed=1)
    assert load(f"folder:{folder}").sha256 == before.sha256


def test_folders_that_differ_in_their_pixels_alone_are_told_apart(tmp_path: Path) -> None:
    """Names, sizes and times of modification are equal, as where archives set them."""
    hashes = set()
    for value in (10, 200):
        for label in ("cat", "dog"):
            folder = tmp_path / str(value) / label
            folder.mkdir(parents=True)
            for k in range(12):
                (folder / f"{k}.pgm").write_bytes(b"P5 6 6 255\n" + bytes([value]) * 36)
                os.utime(folder / f"{k}.pgm", (0, 0))
        data = load(f"folder:{tmp_path / str(value)}")
        assert (data.train.batch(torch.arange(5))[0] == value).all()
        hashes.add(data.sha256)
    assert len(hashes) == 2


def test_unfit_folders(fill: Fill, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "empty").mkdir()
    assert "has no class folders" in refused(f"folder:{tmp_path / 'empty'}")
    assert "no such folder" in refused(f"folder:{tmp_path / 'none'}")
    fill("train/cat", 10)
    folder = fill("train/dog", 10)
    assert "neither test/ nor val/" in refused(f"folder:{folder}")
    fill("test/cats", 2)
    assert "did you mean 'cat'?" in refused(f"folder:{folder}")
    (folder / "test" / "cats").rename(folder / "test" / "cat")
    fill("test/dog", 2, side=7)
    assert "test/dog/000.png is 7 x 7, the first image 6 x 6: give size=PIXELS" in refused(f"folder:{folder}")
    assert load(f"folder:{folder}", size=5).train.shape == (3, 5, 5)
    (folder / "test" / "dog" / "001.png").write_bytes(b"\x89PNG\r\n")
    assert "test/dog/001.png (UnidentifiedImageError): not an image" in refused(f"folder:{folder}", size=6)


def test_folder_that_cannot_be_listed(
    fill: Fill, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fill("cat", 2)

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", forbidden)
    assert refused(f"folder:{folder}") == f"cannot read {folder}: Permission denied"
