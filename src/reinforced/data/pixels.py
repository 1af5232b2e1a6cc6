"""Checks of what users hand over as images and labels, before anything is trained on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reinforced.data.store import Array
from reinforced.errors import ReinforcedError

_CHANNELS = (1, 3)


def image_array(array: Array, where: str) -> Array:
    """Images as contiguous uint8 ``(N, H, W, C)`` with one or three channels.

    Args:
        array: ``(N, H, W, C)``, ``(N, H, W)`` or, where it cannot be mistaken, ``(N, C, H, W)``; uint8, or
            floats in [0, 1] that are multiples of 1/255 (to 1e-4).
        where: what to call the array in an error.

    Raises:
        ReinforcedError: another shape or type, values that are not pixels, or no image at all.
    """
    array = _channels_last(array, where)
    if array.size == 0:
        raise ReinforcedError(f"{where} is empty: shape {array.shape}")
    if array.dtype != np.uint8:
        array = _from_float(array, where)
    return np.ascontiguousarray(array)


def label_array(array: Array, count: int, where: str) -> Array:
    """Class numbers as int64 ``(count,)``.

    Args:
        array: integers ``(count,)`` or ``(count, 1)``.
        count: number of images they belong to.
        where: what to call the array in an error.

    Raises:
        ReinforcedError: another shape or type, a negative label, or not one label for each image.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        hint = "; one-hot? give array.argmax(1)" if array.ndim == 2 else ""
        raise ReinforcedError(f"{where} has shape {array.shape}, expected one class number an image{hint}")
    if len(array) == 0:
        raise ReinforcedError(f"{where} is empty: give at least one label")
    if array.dtype.kind not in "iu":
        raise ReinforcedError(f"{where} holds {array.dtype}: class numbers are integers, 0 to classes - 1")
    if len(array) != count:
        raise ReinforcedError(f"{where} holds {len(array)} labels for {count} images: give one an image")
    if int(array.min()) < 0:
        raise ReinforcedError(f"{where} holds label {array.min()}: class numbers start at 0")
    if int(array.max()) > np.iinfo(np.int64).max:
        raise ReinforcedError(f"{where} holds label {array.max()}: class numbers go up to classes - 1")
    return array.astype(np.int64)


def check_within(labels: Array, classes: Sequence[str], where: str) -> None:
    """Raise a :class:`ReinforcedError` if ``labels`` ``(N,)``, N > 0, hold a number beyond the classes."""
    if labels.max() >= len(classes):
        raise ReinforcedError(
            f"{where} holds label {labels.max()}, outside the {len(classes)} classes 0 to {len(classes) - 1}"
        )


def check_every(labels: Array, classes: Sequence[str], where: str) -> None:
    """Raise a :class:`ReinforcedError` unless ``labels`` ``(N,)``, N > 0, hold every class, and no other."""
    check_within(labels, classes, where)
    empty = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
    if len(empty):
        raise ReinforcedError(
            f"{where} has no image of class {classes[empty[0]]!r} (label {empty[0]}):"
            f" give some, or number the {len(classes) - len(empty)} classes from 0 without gaps"
        )


def numbered(labels: Array, where: str) -> tuple[str, ...]:
    """Names ``("0", "1", ...)`` for the classes of ``labels``.

    Raises:
        ReinforcedError: a label so large that most classes would be empty.
    """
    highest = int(labels.max())
    if highest >= len(labels):
        raise ReinforcedError(
            f"{where} holds label {highest} but only {len(labels)} images:"
            " number the classes from 0 without gaps"
        )
    return tuple(str(k) for k in range(highest + 1))


def _channels_last(array: Array, where: str) -> Array:
    if array.ndim == 3:
        return array[..., None]
    if array.ndim == 4:
        first, last = array.shape[1] in _CHANNELS, array.shape[3] in _CHANNELS
        if first and last:
            raise ReinforcedError(
                f"{where} has shape {array.shape}: either end could be channels; give (N, H, W, C)"
            )
        if last:
            return array
        if first:
            return array.transpose(0, 2, 3, 1)
    raise ReinforcedError(f"{where} has shape {array.shape}, expected (N, H, W, C) with 1 or 3 channels")


def _from_float(array: Array, where: str) -> Array:
    if array.dtype.kind != "f":
        raise ReinforcedError(f"{where} holds {array.dtype}, expected uint8 (0 to 255) or floats in [0, 1]")
    if not np.isfinite(array).all():
        raise ReinforcedError(f"{where} holds NaN or infinite values: give pixels as uint8 or [0, 1]")
    low, high = float(array.min()), float(array.max())
    if low < 0 or (high > 1 and abs(float(array.mean(dtype=np.float64))) < 0.5):
        raise ReinforcedError(
            f"{where} runs from {low:.3g} to {high:.3g}: the images look normalised;"
            " give pixels as uint8 or [0, 1]; normalisation lives inside the model"
        )
    if high > 1:
        raise ReinforcedError(
            f"{where} holds floats up to {high:.3g}: give uint8 (0 to 255) or floats in [0, 1]"
        )
    array = array.astype(np.float32, copy=False)
    pixels: Array = np.rint(array * 255)
    away = float(np.abs(array - pixels / 255).max())
    if away > 1e-4:
        raise ReinforcedError(
            f"{where} holds floats up to {away:.2g} away from multiples of 1/255: they are not 8-bit pixels;"
            " round them to uint8 yourself if that is meant"
        )
    return pixels.astype(np.uint8)
