"""``folder:PATH``: a folder of image files, one subfolder a class."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from reinforced.data.decode import Item
from reinforced.data.decoded import decoded
from reinforced.data.places import resolve
from reinforced.data.splits import stratified_split
from reinforced.data.store import Options, Store
from reinforced.errors import ReinforcedError, did_you_mean

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
TEST_FRACTION = 0.1

_File = tuple[str, Path]  # class and path of an image


def read(argument: str, options: Options) -> Store:
    """The image files below the folder ``argument``, decoded into the cache.

    Either ``train/CLASS/...`` beside ``test/CLASS/...`` (or ``val/``), or ``CLASS/...`` alone: then a fixed
    tenth of each class is the test split. Classes are in alphabetical order. Hidden files and folders, and
    files without an image's suffix, are passed over.

    Raises:
        ReinforcedError: a missing folder, an empty class, a class of the test split that training lacks, a
            damaged image, or sizes that differ while no size is asked for.
    """
    folder = resolve(argument, options.root, folder=True)
    try:
        classes, train, test = _listing(folder)
    except OSError as error:
        raise ReinforcedError(f"cannot read {error.filename}: {error.strerror}") from error
    files = train + test
    numbers = {name: k for k, name in enumerate(classes)}
    labels = np.array([numbers[name] for name, _ in files], dtype=np.int64)
    images, sha256 = decoded(
        [(str(path.relative_to(folder)), path) for _, path in files],
        partial(_items, [path for _, path in files]),
        labels,
        size=options.size,
        progress=options.progress,
    )
    if test:
        train_rows, test_rows = torch.arange(len(train)), torch.arange(len(train), len(files))
    else:
        train_rows, test_rows = stratified_split(torch.from_numpy(labels), TEST_FRACTION, seed=0)
    return Store(
        name=f"folder:{argument}",
        classes=classes,
        images=images,
        labels=torch.from_numpy(labels),
        train=train_rows,
        test=test_rows,
        sha256=sha256,
    )


def _listing(folder: Path) -> tuple[tuple[str, ...], list[_File], list[_File]]:
    """The classes, the training files, and the test files if the folder has any of its own."""
    train, test = _parts(folder)
    classes = _classes(train)
    if test is None:
        return classes, _files(train, classes), []
    for name in _classes(test):
        if name not in classes:
            raise ReinforcedError(f"{test / name} has no class in {train}{did_you_mean(name, classes)}")
    return classes, _files(train, classes), _files(test, classes)


def _parts(folder: Path) -> tuple[Path, Path | None]:
    if not (folder / "train").is_dir():
        return folder, None
    for name in ("test", "val"):
        if (folder / name).is_dir():
            return folder / "train", folder / name
    raise ReinforcedError(
        f"{folder} has train/ but neither test/ nor val/: add one, or give folder:{folder / 'train'}"
    )


def _classes(folder: Path) -> tuple[str, ...]:
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise ReinforcedError(
            f"{folder} has no class folders: put each class's images into a folder of its own"
        )
    return tuple(names)


def _files(folder: Path, classes: tuple[str, ...]) -> list[_File]:
    """Class and path of every image, class by class."""
    files: list[_File] = []
    for name in classes:
        images = sorted(
            path
            for path in (folder / name).rglob("*")
            if path.suffix.lower() in SUFFIXES
            and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        )
        if not images:
            raise ReinforcedError(
                f"class {name!r} has no images in {folder / name}: add some, or remove the folder"
            )
        files += [(name, path) for path in images]
    return files


def _items(paths: list[Path]) -> Iterator[Item]:
    for path in paths:
        yield Item(str(path), path)
