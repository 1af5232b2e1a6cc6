from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.utils.tqdm import are_progress_bars_disabled

from reinforced.data import load

Array = np.ndarray[Any, Any]
Write = Callable[[Path], None]


@pytest.fixture
def write(
    pictures: Callable[..., Array], png: Callable[..., bytes], parquet_file: Callable[..., None]
) -> Write:
    """Put a small cifar10 into a folder."""

    def into(folder: Path) -> None:
        encoded = [png(pixels) for pixels in pictures(8)]
        for split in ("train", "test"):
            parquet_file(
                folder / "plain" / f"{split}-00000-of-00001.parquet", encoded, [0, 1] * 4, ["a", "b"]
            )

    return into


@pytest.fixture
def unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **options: Any) -> None:
        assert options["timeout"] <= 5
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", refuse)


@pytest.mark.usefixtures("unreachable")
@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet100"])
def test_offline_says_at_once_what_to_do(tmp_path: Path, refused: Callable[..., str], name: str) -> None:
    started = time.monotonic()
    message = refused(name, root=tmp_path)
    assert time.monotonic() - started < 5
    for part in ("ConnectionError: no route to host", str(tmp_path / name), "parquet:DIR", "npz:FILE"):
        assert part in message
    assert "REINFORCED_DATA" in message


@pytest.mark.usefixtures("unreachable")
def test_files_that_are_there_need_no_network(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    write(tmp_path / "cifar10")
    data = load("cifar10", root=tmp_path, validation=0.25)
    assert data.name == "cifar10"
    assert data.classes == ("a", "b")
    monkeypatch.setenv("REINFORCED_DATA", str(tmp_path))
    assert load("cifar10", validation=0.25).sha256 == data.sha256
    (tmp_path / "cifar10").rename(tmp_path / "cifar10-jpeg")
    assert "cannot download uoft-cs/cifar10" in refused("cifar10")


def test_download_goes_below_the_root(tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def download(repository: str, *, repo_type: str, allow_patterns: str, local_dir: Path, **_: Any) -> None:
        assert (repo_type, allow_patterns) == ("dataset", "*.parquet")
        asked.append((repository, are_progress_bars_disabled()))
        write(local_dir)

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    for _ in range(2):
        load("cifar10", root=tmp_path, validation=0.25)
    load("cifar100", root=tmp_path, validation=0.25, progress=True)
    assert asked == [("uoft-cs/cifar10", True), ("uoft-cs/cifar100", False)]
    assert not are_progress_bars_disabled()


def test_imagenet_is_resized_unless_told_otherwise(tmp_path: Path, write: Write) -> None:
    write(tmp_path / "imagenet100")
    assert load("imagenet100", root=tmp_path, validation=0.25).train.shape == (3, 224, 224)
    assert load("imagenet100", root=tmp_path, validation=0.25, size=16).train.shape == (3, 16, 16)
