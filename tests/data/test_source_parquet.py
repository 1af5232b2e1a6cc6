from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.data import load
from reinforced.errors import ReinforcedError

Array = np.ndarray[Any, Any]
NAMES = ["ant", "bee"]


@pytest.fixture
def folder(
    tmp_path: Path,
    pictures: Callable[..., Array],
    png: Callable[..., bytes],
    parquet_file: Callable[..., None],
) -> Path:
    """Two shards of 10 training images and a file of 6 test images, in subfolders as on the Hub."""
    train, test = pictures(20), pictures(6, seed=1)
    for k in range(2):
        path = tmp_path / "set" / "plain" / f"train-0000{k}-of-00002.parquet"
        parquet_file(path, [png(pixels) for pixels in train[10 * k : 10 * k + 10]], [0, 1] * 5, NAMES)
    path = tmp_path / "set" / "plain" / "validation-00000-of-00001.parquet"
    parquet_file(path, [png(pixels) for pixels in test], [0, 1] * 3, NAMES)
    return tmp_path / "set"


@pytest.fixture
def rewrite(
    folder: Path,
    pictures: Callable[..., Array],
    png: Callable[..., bytes],
    parquet_file: Callable[..., None],
) -> Callable[..., None]:
    """Replace the folder's test file by one that differs in something."""
    good = {"encoded": [png(pixels) for pixels in pictures(6)], "labels": [0, 1] * 3}
    path = folder / "plain" / "validation-00000-of-00001.parquet"
    return lambda **change: parquet_file(path, **(good | change))


def test_images_labels_and_names(folder: Path, pictures: Callable[..., Array]) -> None:
    data = load(f"parquet:{folder}", validation=0.2)
    assert data.classes == ("ant", "bee")
    assert (len(data.train), len(data.validation), len(data.test)) == (16, 4, 6)
    assert np.array_equal(data.train.images, np.concatenate([pictures(20), pictures(6, seed=1)]))
    images, labels = data.test.batch(torch.arange(6))
    assert np.array_equal(images, pictures(6, seed=1))
    assert labels.tolist() == [0, 1] * 3
    assert load(f"parquet:{folder}", size=12).train.shape == (3, 12, 12)


def test_relative_to_the_root_and_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load("parquet:set", root=folder.parent)
    monkeypatch.setattr("reinforced.data.decoded.decode", None)
    assert load("parquet:set", root=folder.parent).sha256 == first.sha256


def test_fine_labels_without_names(
    tmp_path: Path,
    png: Callable[..., bytes],
    pictures: Callable[..., Array],
    parquet_file: Callable[..., None],
) -> None:
    encoded = [png(pixels) for pixels in pictures(6, channels=1)]
    for split in ("train", "test"):
        parquet_file(tmp_path / f"{split}.parquet", encoded, [0, 1, 2] * 2, image="image", label="fine_label")
    data = load(f"parquet:{tmp_path}", validation=0.5)
    assert data.classes == ("0", "1", "2")
    assert data.train.shape == (1, 6, 6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": [0, 1, 2] * 2}, "label 2, outside the 2 classes"),
        ({"labels": [0, -1, 1] * 2}, "label -1"),
        ({"labels": [0.0, 1.0] * 3}, "holds float64"),
        ({"labels": ["a", "b"] * 3}, "class numbers are integers"),
        ({"labels": [0, 1, None] * 2}, "2 empty rows"),
        ({"label": "lable"}, "no column 'label'; did you mean 'lable'?"),
        ({"image": "imgs"}, "no column 'img'; did you mean 'imgs'?"),
        ({"encoded": [None] * 6}, "row 0 has no image bytes"),
        ({"encoded": [b"garbage"] * 6}, "cannot decode"),
        ({"encoded": [], "labels": []}, "is empty"),
    ],
)
def test_unfit_test_files(
    folder: Path, rewrite: Callable[..., None], refused: Callable[..., str], change: dict[str, Any], said: str
) -> None:
    rewrite(**change)
    message = refused(f"parquet:{folder}")
    assert said in message
    assert str(folder) in message


def test_unfit_columns_of_the_training_file(
    folder: Path, parquet_file: Callable[..., None], refused: Callable[..., str]
) -> None:
    path = folder / "plain" / "train-00000-of-00002.parquet"
    parquet_file(path, [b""], [0], image="picture")
    assert "no image column (it has picture, label): name it img or image" in refused(f"parquet:{folder}")
    parquet_file(path, [b""], [0], label="coarse_label")
    assert "no label column" in refused(f"parquet:{folder}")


def test_images_that_are_not_structs(folder: Path, refused: Callable[..., str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / "plain" / "train-00000-of-00002.parquet"
    pq.write_table(pa.table({"img": [b"x"] * 10, "label": [0, 1] * 5}), path)
    assert "column 'img' of" in refused(f"parquet:{folder}")


def test_missing_files(folder: Path, refused: Callable[..., str]) -> None:
    second = folder / "plain" / "train-00001-of-00002.parquet"
    data = second.read_bytes()
    second.unlink()
    assert "holds 1 of 2 train-*.parquet files" in refused(f"parquet:{folder}")
    second.write_bytes(data)
    hidden = folder / ".cache" / second.name
    hidden.parent.mkdir()
    hidden.write_bytes(data)
    load(f"parquet:{folder}")
    hidden.parent.rename(folder / "other")
    assert "in more than one folder" in refused(f"parquet:{folder}")
    for path in folder.rglob("validation*"):
        path.unlink()
    for path in folder.rglob("other/*"):
        path.unlink()
    assert "has no test- or validation-*.parquet files" in refused(f"parquet:{folder}")
    assert "no such folder" in refused(f"parquet:{folder / 'nothing'}")


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_garbage_is_one_line(garbage: bytes, framed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for split in ("train", "test"):
            data = b"PAR1" + garbage + b"PAR1" if framed else garbage
            (Path(folder) / f"{split}.parquet").write_bytes(data)
        with pytest.raises(ReinforcedError) as caught:
            load(f"parquet:{folder}")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_files(folder: Path, refused: Callable[..., str], share: float) -> None:
    path = folder / "plain" / "train-00001-of-00002.parquet"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert f"cannot read {path}" in refused(f"parquet:{folder}")


def test_some_real_images(real_data: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    for split in ("train", "test"):
        with pq.ParquetFile(real_data / "cifar10-jpeg" / f"{split}-00000-of-00001.parquet") as file:
            pq.write_table(file.read_row_group(0), tmp_path / f"{split}.parquet")
    data = load(f"parquet:{tmp_path}")
    assert data.train.shape == (3, 32, 32)
    assert data.classes[:3] == ("airplane", "automobile", "bird")
    assert (len(data.train), len(data.validation), len(data.test)) == (900, 100, 1000)
