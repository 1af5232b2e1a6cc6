"""The cache of decoded images: written once, memory-mapped ever after."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from reinforced.data.decode import Item, decode
from reinforced.data.places import decoded_folder
from reinforced.data.store import Array
from reinforced.errors import ReinforcedError
from reinforced.files import atomic, write_json

_FORMAT = 2
_PIECE = 32  # images a thread decodes at a time: handing them over one by one costs a quarter more
_CHUNK = 16 * _PIECE  # images in memory


class _ColourAmongGreyError(Exception):
    """A colour image turned up in a store that began as grey."""


def decoded(
    files: Iterable[tuple[str, Path]],
    items: Callable[[], Iterator[Item]],
    labels: Array,
    *,
    size: int | None,
    progress: bool,
) -> tuple[Tensor, str]:
    """Every image of ``items`` as one memory-mapped store; decoded only if the cache lacks it.

    Grey images stay one channel where all are grey; one colour image makes all of them three channels.

    Args:
        files: name and path of each file behind the images. Names, paths, sizes and times are the key.
        items: a new iterator over the encoded images, ``len(labels)`` of them.
        labels: ``(N,)`` int64, for the hash.
        size: side of the square images in pixels; None: as they are, all alike.
        progress: show a progress bar on standard error.

    Returns:
        Images ``(N, H, W, C)`` uint8, read-only, and the SHA-256 of images and labels.

    Raises:
        ReinforcedError: an image that cannot be decoded, sizes that differ while ``size`` is None, no room
            on the disk.
    """
    key = _key(files, size)
    images, record = decoded_folder() / f"{key}.npy", decoded_folder() / f"{key}.json"
    try:
        return _map(images, len(labels)), str(json.loads(record.read_text(encoding="utf-8"))["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there, or damaged: decode (again)
    with _bar(len(labels), progress) as advance:
        try:
            sha256 = _write(images, items(), labels, size=size, channels=None, advance=advance)
        except _ColourAmongGreyError:
            sha256 = _write(images, items(), labels, size=size, channels=3, advance=advance)
    write_json(record, {"sha256": sha256, "count": len(labels)})
    return _map(images, len(labels)), sha256


def _key(files: Iterable[tuple[str, Path]], size: int | None) -> str:
    parts: list[object] = [_FORMAT, size]
    for name, path in files:
        try:
            status = path.stat()
        except OSError as error:
            raise ReinforcedError(f"cannot read {path}: {error.strerror}") from error
        # A time of change cannot be set, unlike that of modification, which archives keep.
        times = (status.st_mtime_ns, status.st_ctime_ns)
        parts.append((name, str(path.resolve()), status.st_size, *times))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _map(path: Path, count: int) -> Tensor:
    array = np.lib.format.open_memmap(path, mode="r")
    if array.dtype != np.uint8 or array.ndim != 4 or len(array) != count:
        raise ValueError(f"{path} is not a store of {count} images")
    with warnings.catch_warnings():
        # A private writable map would silence this too, but counts against memory: 19 GB for ImageNet-100.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
        return torch.from_numpy(array)


def _write(
    path: Path,
    items: Iterator[Item],
    labels: Array,
    *,
    size: int | None,
    channels: int | None,
    advance: Callable[[int], None],
) -> str:
    """Decode ``items`` into ``path``, a chunk at a time, and give the hash.

    The file is written in order rather than through a map, so that a full disk is an error, not a crash.
    """
    sha = hashlib.sha256()
    shape: tuple[int, ...] = ()
    written = 0
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        atomic(path) as temporary,
        temporary.open("wb") as file,
    ):
        while chunk := list(islice(items, _CHUNK)):
            pieces = [chunk[start : start + _PIECE] for start in range(0, len(chunk), _PIECE)]
            decoding = pool.map(lambda piece: [decode(item, size) for item in piece], pieces)
            for item, pixels in zip(chunk, chain.from_iterable(decoding), strict=True):
                if not shape:
                    shape = (*pixels.shape[:2], channels or pixels.shape[2])
                    _header(file, (len(labels), *shape))
                data = _as_shape(pixels, shape, item.where).tobytes()
                sha.update(data)
                file.write(data)
            written += len(chunk)
            advance(written)
        if written != len(labels):
            raise ReinforcedError(
                f"{written} images for {len(labels)} labels: the files changed meanwhile, try again"
            )
    sha.update(labels.astype("<i8").tobytes())
    return sha.hexdigest()


def _header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _as_shape(pixels: Array, shape: tuple[int, ...], where: str) -> Array:
    if pixels.shape[:2] != shape[:2]:
        raise ReinforcedError(
            f"{where} is {pixels.shape[0]} x {pixels.shape[1]}, the first image {shape[0]} x {shape[1]}:"
            " give size=PIXELS to resize all"
        )
    if pixels.shape[2] > shape[2]:
        raise _ColourAmongGreyError
    return np.broadcast_to(pixels, shape)


@contextmanager
def _bar(total: int, progress: bool) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), disable=not progress) as bar:
        task = bar.add_task("decoding images", total=total)
        yield lambda done: bar.update(task, completed=done)
