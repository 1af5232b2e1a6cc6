"""``npz:PATH``: arrays ``X_train``, ``y_train``, ``X_test``, ``y_test`` in one NumPy archive."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from reinforced.data.pixels import check_every, check_within, image_array, label_array, numbered
from reinforced.data.places import resolve
from reinforced.data.store import Array, Options, Store, from_arrays, refuse_size
from reinforced.errors import ReinforcedError, did_you_mean

KEYS = ("X_train", "y_train", "X_test", "y_test")


def read(argument: str, options: Options) -> Store:
    """The archive ``argument``; an optional array ``classes`` of strings names the classes.

    Images and labels: see :func:`~reinforced.data.pixels.image_array` and
    :func:`~reinforced.data.pixels.label_array`. Pickled (object) arrays are refused.

    Raises:
        ReinforcedError: a missing, damaged or unfit file or array.
    """
    path = resolve(argument, options.root, folder=False)
    arrays = _arrays(path)
    images, labels = {}, {}
    for part in ("train", "test"):
        images[part] = image_array(arrays[f"X_{part}"], f"X_{part} of {path}")
        labels[part] = label_array(arrays[f"y_{part}"], len(images[part]), f"y_{part} of {path}")
    height, width = images["train"].shape[1:3]
    if images["train"].shape[1:] != images["test"].shape[1:]:
        shapes = " and ".join(str(array.shape) for array in images.values())
        raise ReinforcedError(f"X_train and X_test of {path} have shapes {shapes}: give images of one shape")
    refuse_size(f"npz:{argument}", options.size, height, width)
    classes = _class_names(arrays, path) or numbered(labels["train"], f"y_train of {path}")
    check_every(labels["train"], classes, f"y_train of {path}")
    # The test images may be the first few of a longer list, and so lack a class.
    check_within(labels["test"], classes, f"y_test of {path}")
    return from_arrays(
        f"npz:{argument}",
        classes,
        np.concatenate([images["train"], images["test"]]),
        np.concatenate([labels["train"], labels["test"]]),
        len(labels["train"]),
    )


def _arrays(path: Path) -> dict[str, Array]:
    try:
        # Given a path, numpy leaves the file open when it turns out damaged.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ReinforcedError(f"{path} is a single array, not an archive: save one with numpy.savez")
            with archive:
                for key in KEYS:
                    if key not in archive.files:
                        near = did_you_mean(key, set(archive.files) - set(KEYS))
                        raise ReinforcedError(
                            f"{path} has no array {key!r} (needed: {', '.join(KEYS)}){near}"
                        )
                return {key: archive[key] for key in archive.files if key in (*KEYS, "classes")}
    except ReinforcedError:
        raise
    # Damaged archives raise zipfile's, zlib's, tokenize's errors, and MemoryError for absurd shapes.
    except Exception as error:
        if "allow_pickle" in str(error):
            raise ReinforcedError(
                f"{path} holds pickled objects, which can run code when loaded: save plain numeric arrays"
            ) from error
        raise ReinforcedError(
            f"cannot read {path} ({type(error).__name__}): not an npz archive, or damaged; write it again"
        ) from error


def _class_names(arrays: dict[str, Array], path: Path) -> tuple[str, ...] | None:
    names = arrays.get("classes")
    if names is None:
        return None
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ReinforcedError(
            f"array 'classes' of {path} is {names.dtype} {names.shape}, expected a list of strings"
        )
    return tuple(str(name) for name in names)
