"""``parquet:PATH``: a folder of parquet files in the Hub's layout."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reinforced.data.decode import Item
from reinforced.data.decoded import decoded
from reinforced.data.pixels import check_every, check_within, label_array, numbered
from reinforced.data.places import resolve
from reinforced.data.store import Array, Options, Store
from reinforced.errors import ReinforcedError, did_you_mean

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label")
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.parquet$")
_ROWS = 256


@dataclass(frozen=True)
class _Files:
    """Sorted parquet files of the two splits."""

    train: list[Path]
    test: list[Path]


def read(argument: str, options: Options) -> Store:
    """All ``*.parquet`` files below the folder ``argument``, decoded into the cache.

    The split is the start of the file's name: ``train-``, and ``test-`` or, where there is none,
    ``validation-``. Columns: ``img`` or ``image``, a struct with ``bytes``; ``label`` or ``fine_label``, an
    integer. Class names are those of the Hub's feature metadata, else the class numbers.

    Raises:
        ReinforcedError: a missing or damaged file, column, split or image; labels outside the classes.
    """
    folder = resolve(argument, options.root, folder=True)
    problem = incomplete(folder)
    if problem:
        raise ReinforcedError(problem)
    files = _find(folder)
    every = files.train + files.test
    image_column, label_column = _columns(every[0])
    train = np.concatenate([_labels(path, label_column) for path in files.train])
    test = np.concatenate([_labels(path, label_column) for path in files.test])
    classes = _class_names(every[0], label_column) or numbered(train, f"{folder} (train)")
    check_every(train, classes, f"{folder} (train)")
    check_within(test, classes, f"{folder} (test)")
    labels = np.concatenate([train, test])
    images, sha256 = decoded(
        [(str(path.relative_to(folder)), path) for path in every],
        partial(_items, every, image_column),
        labels,
        size=options.size,
        progress=options.progress,
    )
    return Store(
        name=f"parquet:{argument}",
        classes=classes,
        images=images,
        labels=torch.from_numpy(labels),
        train=torch.arange(len(train)),
        test=torch.arange(len(train), len(labels)),
        sha256=sha256,
    )


def incomplete(folder: Path) -> str:
    """What the folder lacks to be a data set, in one line; empty if it lacks nothing."""
    files = _find(folder)
    for wanted, paths in (("train-", files.train), ("test- or validation-", files.test)):
        if not paths:
            return f"{folder} has no {wanted}*.parquet files: name the files after their split"
        shards = [_SHARD.search(path.name) for path in paths]
        count = max((int(shard[2]) for shard in shards if shard), default=0)
        if count > len(paths):
            return f"{folder} holds {len(paths)} of {count} {wanted}*.parquet files: fetch the others"
        if len({path.name for path in paths}) < len(paths):
            return (
                f"{folder} holds the same {wanted}*.parquet files in more than one folder: give one of those"
            )
    return ""


def _find(folder: Path) -> _Files:
    found = sorted(
        path
        for path in folder.rglob("*.parquet")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )

    def of(split: str) -> list[Path]:
        return [path for path in found if re.match(rf"{split}\b", path.name)]

    return _Files(of("train"), of("test") or of("validation"))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A parquet file; whatever goes wrong with it becomes one line."""
    import pyarrow.parquet  # noqa: PLC0415

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except ReinforcedError:
        raise
    # Arrow raises its own errors and the system's; damaged files also KeyError, TypeError, MemoryError.
    except Exception as error:
        raise ReinforcedError(
            f"cannot read {path} ({type(error).__name__}): not a parquet file, or damaged; fetch it again"
        ) from error


def _columns(path: Path) -> tuple[str, str]:
    with _opened(path) as file:
        names = file.schema_arrow.names

    def pick(purpose: str, known: tuple[str, ...]) -> str:
        for name in known:
            if name in names:
                return name
        raise ReinforcedError(
            f"{path} has no {purpose} column (it has {', '.join(names)}): name it {' or '.join(known)}"
        )

    return pick("image", IMAGE_COLUMNS), pick("label", LABEL_COLUMNS)


def _class_names(path: Path, column: str) -> tuple[str, ...] | None:
    with _opened(path) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][column]["names"]
        return tuple(str(name) for name in names) or None
    except (KeyError, TypeError, ValueError):
        return None


def _labels(path: Path, column: str) -> Array:
    with _opened(path) as file:
        _check_column(path, column, file.schema_arrow.names)
        values = file.read(columns=[column]).column(column)
        if values.null_count:
            raise ReinforcedError(
                f"column {column!r} of {path} has {values.null_count} empty rows: remove them"
            )
        return label_array(np.asarray(values), len(values), f"column {column!r} of {path}")


def _items(paths: list[Path], column: str) -> Iterator[Item]:
    for path in paths:
        with _opened(path) as file:
            _check_column(path, column, file.schema_arrow.names)
            kind = file.schema_arrow.field(column).type
            if "bytes" not in [kind.field(i).name for i in range(kind.num_fields)]:
                raise ReinforcedError(
                    f"column {column!r} of {path} is {kind}, expected a struct with 'bytes'"
                )
            row = 0
            for batch in file.iter_batches(_ROWS, columns=[f"{column}.bytes"]):
                for data in batch.column(0).field("bytes").to_pylist():
                    if data is None:
                        raise ReinforcedError(f"{path} row {row} has no image bytes: embed the images")
                    yield Item(f"{path} row {row}", data)
                    row += 1


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise ReinforcedError(f"{path} has no column {column!r}{did_you_mean(column, names)}")
