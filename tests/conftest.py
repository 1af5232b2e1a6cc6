from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path

import pytest
import torch

from reinforced import cli
from reinforced.evaluation.records import READ_OF_SETUP, Evaluation
from tests.typed import TypedIn


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """The tests' arrays are small: more threads would only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bare_evaluation() -> dict[str, object]:
    """The values of an ``evaluation.json`` that is whole, and says as little as can be."""
    setup: dict[str, object] = {**dict.fromkeys(READ_OF_SETUP, 0), "attacks": [], "chunk_sha256": {}}
    values: dict[str, object] = {field.name: 0 for field in fields(Evaluation)}
    return values | {"attacks": [], "as_released": [], "notes": [], "setup": setup}


@pytest.fixture
def typed_at(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> TypedIn:
    """Of a folder, what runs a line there as if it were typed."""

    def run(folder: Path, line: str) -> tuple[int, str, str]:
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "argv", ["reinforced", *shlex.split(line)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return lambda folder: partial(run, folder)
