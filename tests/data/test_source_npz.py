from __future__ import annotations

import io
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
from reinforced.data.store import digest
from reinforced.errors import ReinforcedError

Pictures = Callable[..., np.ndarray[Any, Any]]


def test_arrays_come_through(npz_file: Callable[..., Path], pictures: Pictures) -> None:
    path = npz_file(classes=np.array(["a", "b", "c", "d"]))
    data = load(f"npz:{path}")
    assert data.classes == ("a", "b", "c", "d")
    assert (len(data.train), len(data.validation), len(data.test)) == (36, 4, 8)
    test, labels = data.test.batch(torch.arange(8))
    assert np.array_equal(test, pictures(8, seed=1))
    assert labels.tolist() == [0, 1, 2, 3] * 2
    both = np.concatenate([pictures(40), pictures(8, seed=1)])
    assert data.sha256 == digest(both, np.arange(48) % 4)


def test_floats_and_channels_first_hold_the_same_images(
    npz_file: Callable[..., Path], pictures: Pictures
) -> None:
    plain = load(f"npz:{npz_file()}")
    turned = {
        "X_train": (pictures(40) / 255).astype(np.float32).transpose(0, 3, 1, 2),
        "y_train": (np.arange(40) % 4)[:, None].astype(np.uint8),
    }
    assert load(f"npz:{npz_file(**turned)}").sha256 == plain.sha256


@pytest.mark.parametrize(
    ("replaced", "said"),
    [
        (
            {"X_train": None, "x_train": np.zeros(3)},
            "no array 'X_train' (needed: X_train, y_train, X_test, y_test); did you mean 'x_train'?",
        ),
        ({"y_test": None}, "no array 'y_test' (needed: X_train, y_train, X_test, y_test)"),
        ({"y_train": np.arange(39) % 4}, "39 labels for 40 images"),
        ({"y_train": np.arange(40) % 4 - 1}, "label -1"),
        ({"y_train": np.arange(40) % 4 * 1.0}, "float64"),
        ({"y_train": np.arange(40) % 4 + 1}, "no image of class '0'"),
        ({"y_train": np.arange(40) % 4 * 100}, "label 300 but only 40 images"),
        ({"y_test": np.arange(8)}, "y_test of"),
        ({"classes": np.array(["a", "b", "c"])}, "label 3, outside the 3 classes"),
        ({"classes": np.array(["a", "b", "c", "d", "e"])}, "no image of class 'e'"),
        ({"classes": np.arange(4)}, "list of strings"),
        ({"X_test": np.zeros((8, 7, 7, 3), np.uint8)}, "give images of one shape"),
        ({"X_test": np.zeros((0, 6, 6, 3), np.uint8)}, "is empty"),
        ({"X_train": np.array([None] * 40)}, "pickled objects"),
        ({"X_train": np.random.default_rng(0).normal(size=(40, 6, 6, 3))}, "look normalised"),
    ],
)
def test_unfit_arrays(
    npz_file: Callable[..., Path], refused: Callable[..., str], replaced: dict[str, Any], said: str
) -> None:
    message = refused(f"npz:{npz_file(**replaced)}")
    assert said in message
    assert "mine.npz" in message


def test_unfit_files(tmp_path: Path, npz_file: Callable[..., Path], refused: Callable[..., str]) -> None:
    whole = npz_file().read_bytes()
    path = tmp_path / "mine.npz"
    path.write_bytes(whole[: len(whole) // 2])
    assert "not an npz archive, or damaged" in refused(f"npz:{path}")
    damaged = bytearray(whole)
    damaged[1000:1010] = b"xxxxxxxxxx"
    path.write_bytes(damaged)
    assert "damaged" in refused(f"npz:{path}")
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    path.write_bytes(single.getvalue())
    assert "single array" in refused(f"npz:{path}")
    assert "no such file" in refused(f"npz:{tmp_path / 'other'}")
    assert "is not a file" in refused(f"npz:{tmp_path}")
    assert "is not resized" in refused(f"npz:{npz_file()}", size=32)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=80), st.integers(0, 900))
def test_garbage_is_one_line(garbage: bytes, place: int) -> None:
    whole = io.BytesIO()
    np.savez(whole, X_train=np.zeros((3, 2, 2, 1), np.uint8), y_train=np.arange(3))
    data = whole.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        for damaged in (garbage, data[:place] + garbage + data[place + len(garbage) :]):
            path.write_bytes(damaged)
            with pytest.raises(ReinforcedError) as caught:
                load(f"npz:{path}")
            assert "\n" not in str(caught.value)
