"""Files that grow or are replaced while they are read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import stat
from pathlib import Path
from typing import Any

PIECE = 1 << 24
"""Bytes read of a file at most at a time."""


def open_inside(root: Path, path: Path) -> int | None:
    """A descriptor of a plain file in ``root``; ``None`` if there is none, or a link leads out of ``root``.

    Args:
        root: resolved.
        path: below it, as named.
    """
    try:
        real = path.resolve(strict=True)
        if not real.is_relative_to(root):
            return None
        # What is swapped for a link or a pipe after the line above must neither be followed nor waited for.
        found = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (OSError, RuntimeError):  # RuntimeError: a circle of links
        return None
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        return None
    return found


def read_inside(root: Path, path: Path) -> bytes | None:
    """The whole of a plain file in ``root``, or ``None`` as in :func:`open_inside`."""
    found = open_inside(root, path)
    if found is None:
        return None
    with os.fdopen(found, "rb") as file:
        return file.read()


def is_inside(root: Path, path: Path) -> bool:
    """Whether :func:`open_inside` would find a file."""
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return False
    return real.is_relative_to(root) and real.is_file()


class Tail:
    """The rows of a file of JSON lines: only what was added since the last look is read.

    The last line counts once its line end is there. A file that was replaced or cut is read anew.
    """

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self._path = root, path
        self._start(None)

    def _start(self, inode: int | None) -> None:
        self._inode, self._at, self._rest = inode, 0, b""
        self.rows: list[dict[str, Any]] = []
        self.damaged = 0
        self.first = ""
        """Hash of the first line: another one means another run."""
        self.changed = 0.0
        """When the file was last written, seconds since the epoch; 0 if there is none."""

    def look(self) -> None:
        """Read what is new."""
        found = open_inside(self._root, self._path)
        if found is None:
            self._start(None)
            return
        with os.fdopen(found, "rb") as file:
            state = os.fstat(found)
            if state.st_ino != self._inode or state.st_size < self._at:
                self._start(state.st_ino)
            self.changed = state.st_mtime
            file.seek(self._at)
            while piece := file.read(PIECE):
                self._at += len(piece)
                *lines, self._rest = (self._rest + piece).split(b"\n")
                for line in lines:
                    self._add(line)

    def _add(self, line: bytes) -> None:
        if not self.first:
            self.first = hashlib.sha256(line).hexdigest()[:12]
        try:
            row = json.loads(line, parse_constant=lambda _: None, parse_float=_finite)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            self.rows.append(row)
        else:
            self.damaged += 1


def _finite(text: str) -> float | None:
    """The number, or none: the page's JSON knows neither NaN nor infinity."""
    value = float(text)
    return value if math.isfinite(value) else None
