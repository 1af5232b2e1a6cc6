"""``reinforced`` as it is typed, without the seconds that importing torch takes: here, or in a fork."""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from reinforced.cli import main

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Said:
    """What a command ended with; ``code`` is minus the signal that killed it."""

    code: int
    out: str
    err: str

    @property
    def errors(self) -> list[str]:
        """Lines that say what is wrong."""
        return [line for line in self.err.splitlines() if line.startswith("error: ")]

    @property
    def unexplained(self) -> str:
        """What a user should not have seen: a traceback, an internal error, none or more than one line."""
        if "Traceback (most recent call last)" in self.err + self.out:
            return "traceback"
        if any(line.startswith("error: internal") for line in self.errors) or self.code in (1, 120):
            return "internal error"
        if self.code not in (0, -signal.SIGKILL) and len(self.errors) != 1:
            return f"exit {self.code} with {len(self.errors)} lines of error"
        return ""

    def __str__(self) -> str:
        last = (self.errors or self.err.strip().splitlines() or [""])[-1]
        return f"exit {self.code}: {last[:300]}"


def _run(arguments: tuple[object, ...]) -> int:
    typed, sys.argv = sys.argv, ["reinforced", *map(str, arguments)]
    earlier = signal.getsignal(signal.SIGTERM)
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv = typed
        signal.signal(signal.SIGTERM, earlier)


def call(*arguments: object) -> Said:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
        code = _run(arguments)
    return Said(code, out.getvalue(), err.getvalue())


class Forked:
    """A command in a fork of this process, which may be killed, and need not be root."""

    def __init__(self, *arguments: object, privileged: bool = True, limit: int | None = None) -> None:
        """Start it, without root's privileges, or with files no larger than a limit."""
        self._files = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.began = time.monotonic()
        self.pid = os.fork()
        if not self.pid:
            self._child(arguments, privileged, limit)
        self._status: int | None = None

    def _child(self, arguments: tuple[object, ...], privileged: bool, limit: int | None) -> NoReturn:
        code = 120
        try:
            for number, file in enumerate(self._files, 1):
                os.dup2(file.fileno(), number)
            sys.stdout, sys.stderr = _line_buffered(1), _line_buffered(2)
            if limit is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            if not privileged:
                _drop_privileges()
            code = _run(arguments)
            sys.stdout.flush()
        finally:
            os._exit(code)

    def running(self) -> bool:
        """Whether it has not ended."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is None

    def send(self, number: int) -> bool:
        """Send a signal; False if it had ended before."""
        if not self.running():
            return False
        os.kill(self.pid, number)
        return True

    def until(self, come: Callable[[], bool], patience: float = 240.0) -> bool:
        """Wait until something has come about while it runs; False if it ended, or took too long, before."""
        deadline = time.monotonic() + patience
        while self.running() and time.monotonic() < deadline:
            if come():
                return True
            time.sleep(0.002)
        return False

    def ended(self) -> Said:
        """Wait for its end."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return Said(self._status, *map(_content, self._files))


def forked(*arguments: object, privileged: bool = True, limit: int | None = None) -> Said:
    """Run a command in a fork to its end."""
    return Forked(*arguments, privileged=privileged, limit=limit).ended()


def _drop_privileges() -> None:
    """Give up every capability: a root without any is bound by the modes of its files, as anybody is.

    Another user could not go on importing from an interpreter that lies in root's home.
    """
    header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if _LIBC.capset(header, none):
        raise OSError(ctypes.get_errno(), "capset")


def _line_buffered(number: int) -> IO[str]:
    return os.fdopen(number, "w", buffering=1, closefd=False)


def _content(file: IO[str]) -> str:
    file.seek(0)
    text = file.read()
    file.close()
    return text


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, locks aside."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
