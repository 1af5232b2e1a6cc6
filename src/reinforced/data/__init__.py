"""Images as uint8 on a disk, in memory or on a device; [0, 1] floats on demand.

``load("cifar10")``, ``load("npz:mine.npz")``, ... give a :class:`Dataset`; :mod:`reinforced.data.sources` has
one file a source.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from reinforced.data.augment import Augment, augment
from reinforced.data.dataset import Dataset, Split, place, to_float
from reinforced.data.inspect import Summary, contact_sheet, save_npz, summarise
from reinforced.data.places import data_root
from reinforced.data.sources import read
from reinforced.data.splits import mixed, stratified_split
from reinforced.data.store import Options, Store
from reinforced.errors import ReinforcedError

__all__ = [
    "Augment",
    "Dataset",
    "Split",
    "Summary",
    "augment",
    "contact_sheet",
    "load",
    "place",
    "save_npz",
    "stratified_split",
    "summarise",
    "to_float",
]


def load(
    source: str,
    *,
    size: int | None = None,
    root: Path | None = None,
    validation: float = 0.1,
    limit: int | None = None,
    split_seed: int = 0,
    progress: bool = False,
) -> Dataset:
    """A dataset by its name.

    Args:
        source: ``digits``, ``cifar10``, ``cifar100``, ``imagenet100``, ``parquet:FOLDER``, ``folder:FOLDER``,
            ``npz:FILE`` or ``synthetic:CLASSESxSIZE`` (made-up images).
        size: side in pixels to resize image files to (shorter side, then the central square). Default: the
            images' own, for ``imagenet100`` 224. The other sources refuse any but their own.
        root: folder of named data sets and of relative paths not found in the current folder. Default:
            ``$REINFORCED_DATA``, else ``~/.cache/reinforced``.
        validation: fraction, at least 0 and below 1, of the training images that become the validation
            split, stratified. ``digits`` has a fixed validation split and ignores it.
        limit: train on exactly this many images, stratified. The validation split shrinks with it, so that it
            stays the same fraction of the two together. For one ``split_seed`` the training images of a
            smaller limit are among those of a larger one, and so are the validation images.
        split_seed: which images are for validation, and which a limit leaves.
        progress: show progress bars while downloading or decoding.

    Raises:
        ReinforcedError: no such source; data that cannot be used; a class without an image in the training or
            validation split.
    """
    if not 0 <= validation < 1:
        raise ReinforcedError(f"validation={validation} is not a fraction: give at least 0 and less than 1")
    for name, value in (("limit", limit), ("size", size)):
        if value is not None and value < 1:
            raise ReinforcedError(f"{name}={value} is not a number of {_UNITS[name]}: give at least 1")
    store = read(source, Options(size, data_root(root), progress))
    if store.validation is None:
        train, held_out = _cut(store, validation, limit, split_seed)
    else:
        train, held_out = _limited(store, limit, split_seed), store.validation
    _check_every_class(store, "training", train)
    if len(held_out):
        _check_every_class(store, "validation", held_out)

    def split(rows: Tensor) -> Split:
        order = mixed(store.labels[rows])
        rows = rows if order is None else rows[order]
        return Split(store.images, store.labels[rows], rows)

    return Dataset(
        name=store.name,
        classes=store.classes,
        train=split(train),
        validation=split(held_out),
        test=split(store.test),
        sha256=store.sha256,
    )


_UNITS = {"limit": "training images", "size": "pixels"}


def _cut(store: Store, fraction: float, limit: int | None, seed: int) -> tuple[Tensor, Tensor]:
    """Training and validation rows: the two ends of one stratified order."""
    total = len(store.train)
    held_out = round(fraction * total if limit is None else fraction * limit / (1 - fraction))
    train = total - held_out if limit is None else limit
    if train + held_out > total:
        raise ReinforcedError(
            f"limit={limit} with {held_out} validation images is more than the {total} of {store.name}:"
            f" at most {total - round(fraction * total)}"
        )
    parts = stratified_split(store.labels[store.train], (train, total - train - held_out, held_out), seed)
    return store.train[parts[0]], store.train[parts[2]]


def _limited(store: Store, limit: int | None, seed: int) -> Tensor:
    total = len(store.train)
    if limit is None:
        return store.train
    if limit > total:
        raise ReinforcedError(
            f"limit={limit} is more than the training images of {store.name}: at most {total}"
        )
    return store.train[stratified_split(store.labels[store.train], (limit,), seed)[0]]


def _check_every_class(store: Store, purpose: str, rows: Tensor) -> None:
    counts = torch.bincount(store.labels[rows], minlength=len(store.classes))
    missing = (counts == 0).nonzero().flatten().tolist()
    if missing:
        held = int((store.labels[store.train] == missing[0]).sum())
        raise ReinforcedError(
            f"no {purpose} image of class {store.classes[missing[0]]!r}, which has {held} in {store.name}:"
            " give more images, a larger limit or another validation fraction"
        )
