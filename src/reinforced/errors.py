"""The one exception a user can put right, and the helper that words its hint."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


class ReinforcedError(Exception):
    """Something the user can put right: one line that says what, where, and the nearest right thing.

    The command line prints it without a traceback and exits with 2.
    """


class InUse(ReinforcedError):
    """Another process holds a folder; it may soon let go of it."""


class Damaged(ReinforcedError):
    """A file or folder is not what was written; moved away, ``path`` is made again by who goes on."""

    def __init__(self, message: str, path: Path | None = None) -> None:
        super().__init__(message)
        self.path = path


class Interrupted(ReinforcedError):
    """A run was asked to stop, saved its state and can go on; the command line exits with ``exit_code``."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """``'; did you mean 'x'?'`` for the nearest option, else the list of options."""
    known = sorted(set(options))
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
