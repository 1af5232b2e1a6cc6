"""Atomic writes: a file is there whole, or not at all."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reinforced.errors import InUse, ReinforcedError

_UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.EISDIR,
    errno.ENOENT,
    errno.ENAMETOOLONG,
    errno.EFBIG,
)


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


@contextmanager
def locked(file: Path, other: str, *, wait: bool = False) -> Iterator[None]:
    """Hold the folder of ``file`` for this process; the system lets go of it however the process ends.

    Args:
        file: the lock, which says who holds it.
        other: the option that chooses another folder, for the message.
        wait: until the other process has let go of it, for work of seconds.

    Raises:
        InUse: another process holds it.
        ReinforcedError: the folder cannot be written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = file.open("ab+", buffering=0)
    except OSError as error:
        raise ReinforcedError(f"cannot write {file.parent}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.read().decode(errors="replace").strip() or "?"
            raise InUse(
                f"{file.parent} is in use by process {holder}; wait for it, or choose another {other}"
            ) from None
        try:
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n".encode())
        except OSError as error:
            raise _explain(error, file) from error
        yield


def _explain(error: OSError, path: Path) -> OSError | ReinforcedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ReinforcedError(f"disk full while writing {path}: nothing was changed; free some space")
    if error.errno in _UNWRITABLE:
        return ReinforcedError(f"cannot write {path}: {error.strerror}; choose a folder you can write to")
    return error
