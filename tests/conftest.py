from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from reinforced.evaluation.records import READ_OF_SETUP, Evaluation
from tests.typed import Typed, TypedIn, typed_in


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

    def at(folder: Path) -> Typed:
        return typed_in(folder, monkeypatch, capsys)

    return at
