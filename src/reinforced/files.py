"""Atomic writes: a file is there whole, or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it takes ``path``'s place, else it is removed.

    Raises:
        ReinforcedError: the disk is full, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o644)
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _explain(error, path) from error


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically, as UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON; not-a-number is refused rather than written."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _explain(error: OSError, path: Path) -> OSError | ReinforcedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ReinforcedError(f"disk full while writing {path}: nothing was changed; free some space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return ReinforcedError(f"cannot write {path}: {error.strerror}; choose a folder you can write to")
    return error
