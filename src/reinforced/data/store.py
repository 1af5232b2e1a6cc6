"""What a source gives: every image once, and which rows are for training and which for the test."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from reinforced.errors import ReinforcedError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Options:
    """What the user asked of a source.

    Attributes:
        size: side of the square images in pixels; None: the source's own.
        root: folder where data sets lie.
        progress: show a progress bar while downloading or decoding.
    """

    size: int | None
    root: Path
    progress: bool


@dataclass(frozen=True, eq=False)
class Store:
    """All images of a source.

    Attributes:
        name: the source, as a record should name it.
        classes: names of the classes.
        images: ``(M, H, W, C)`` uint8, training images before test images; may be a memory map.
        labels: ``(M,)`` int64.
        train, test: int64 rows. ``validation`` is cut out of ``train`` later, unless the source fixes it.
        sha256: see :func:`digest`.
    """

    name: str
    classes: tuple[str, ...]
    images: Tensor
    labels: Tensor
    train: Tensor
    test: Tensor
    sha256: str
    validation: Tensor | None = None


Reader = Callable[[str, Options], Store]


def from_arrays(name: str, classes: tuple[str, ...], images: Array, labels: Array, train: int) -> Store:
    """A store of ``images`` ``(M, H, W, C)``: the first ``train`` rows for training, the others for test."""
    return Store(
        name=name,
        classes=classes,
        images=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        train=torch.arange(train),
        test=torch.arange(train, len(labels)),
        sha256=digest(images, labels),
    )


def digest(images: Array, labels: Array) -> str:
    """Hex SHA-256 of ``images`` (uint8, contiguous), then of ``labels`` as little-endian int64."""
    sha = hashlib.sha256(images.data)
    sha.update(labels.astype("<i8").tobytes())
    return sha.hexdigest()


def refuse_size(name: str, size: int | None, height: int, width: int) -> None:
    """Raise a :class:`ReinforcedError` if a source that does not resize is asked for another size."""
    if size is not None and (height, width) != (size, size):
        raise ReinforcedError(
            f"{name} holds {height} x {width} images and is not resized: leave size out,"
            " or give image files (folder:PATH, parquet:PATH)"
        )
