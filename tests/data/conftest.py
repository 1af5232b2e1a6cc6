from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from reinforced.data import load
from reinforced.errors import ReinforcedError

REAL = os.environ.get("REINFORCED_DATA")


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own cache or data."""
    monkeypatch.delenv("REINFORCED_DATA", raising=False)
    monkeypatch.delenv("REINFORCED_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def real_data() -> Path:
    if not REAL or not (Path(REAL) / "cifar10-lossless-6k.npz").exists():
        pytest.skip("REINFORCED_DATA does not hold the CIFAR-10 files")
    return Path(REAL).absolute()


@pytest.fixture
def refused() -> Callable[..., str]:
    """Load what cannot be loaded, and give the one line that says why."""

    def attempt(source: str, **options: Any) -> str:
        with pytest.raises(ReinforcedError) as caught:
            load(source, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    return attempt


@pytest.fixture
def pictures() -> Callable[..., np.ndarray[Any, Any]]:
    """Random images (N, H, W, C), the same every time."""

    def make(count: int, side: int = 6, channels: int = 3, seed: int = 0) -> np.ndarray[Any, Any]:
        shape = (count, side, side, channels)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make


@pytest.fixture
def png() -> Callable[[np.ndarray[Any, Any]], bytes]:
    def encode(pixels: np.ndarray[Any, Any]) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(pixels.squeeze()).save(buffer, format="PNG")
        return buffer.getvalue()

    return encode


@pytest.fixture
def parquet_file() -> Callable[..., None]:
    """Write a parquet file in the Hub's layout."""

    def write(
        path: Path,
        encoded: list[bytes | None],
        labels: list[Any],
        names: list[str] | None = None,
        *,
        image: str = "img",
        label: str = "label",
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        table = pa.table({image: [{"bytes": data, "path": None} for data in encoded], label: labels})
        if names is not None:
            features = {label: {"names": names, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=4)

    return write


@pytest.fixture
def npz_file(tmp_path: Path, pictures: Callable[..., np.ndarray[Any, Any]]) -> Callable[..., Path]:
    """Write an archive of 40 training and 8 test images of 4 classes, with some arrays replaced."""

    def write(**replaced: Any) -> Path:
        arrays = {
            "X_train": pictures(40),
            "y_train": np.arange(40) % 4,
            "X_test": pictures(8, seed=1),
            "y_test": np.arange(8) % 4,
        } | replaced
        path = tmp_path / "mine.npz"
        np.savez(path, **{key: array for key, array in arrays.items() if array is not None})
        return path

    return write
