"""A command as a user types it, run in this very process."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reinforced import cli

Typed = Callable[[str], tuple[int, str, str]]
TypedIn = Callable[[Path], Typed]


def typed_in(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Typed:
    """What runs a line, the leading ``reinforced`` left out, in a folder: exit code, output and errors."""

    def run(line: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["reinforced", *shlex.split(line)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run
