from __future__ import annotations

import copy
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from reinforced.errors import Interrupted
from reinforced.training.loop import train
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import validate_recipe
from reinforced.training.run import RunDirectory

CPU = torch.device("cpu")
# Three updates an epoch.
BASE: dict[str, Any] = {
    "name": "test",
    "data": {"source": "digits", "limit": 96},
    "model": {"name": "user_networks:linear"},
    "batch_size": 32,
    "optimizer": {"kind": "sgd", "lr": 0.1},
    "phases": [{"epochs": 2}],
    "precision": "float32",
}


def made(**changes: Any) -> Recipe:
    """A small recipe with some of its top-level fields replaced."""
    return validate_recipe(copy.deepcopy(BASE) | changes, "test")


@pytest.fixture
def make() -> Callable[..., Recipe]:
    return made


@pytest.fixture
def recipe_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a small recipe as a file."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "test.yaml"
        path.write_text(yaml.safe_dump(copy.deepcopy(BASE) | changes), encoding="utf-8")
        return path

    return write


class Stopper:
    """A reporter that sends this process a signal after so many batches."""

    def __init__(self, batches: int, number: int = signal.SIGTERM) -> None:
        self.batches, self.number = batches, number

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, images: int) -> None:
        self.batches -= 1
        if self.batches == 0:
            os.kill(os.getpid(), self.number)

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


@pytest.fixture
def fit() -> Callable[..., dict[str, Any]]:
    """Trains on the CPU; ``stop`` asks it to stop after so many batches."""

    def run(recipe: Recipe, path: Path, stop: int | None = None) -> dict[str, Any]:
        return train(recipe, path, device=CPU, reporter=None if stop is None else Stopper(stop))

    return run


@pytest.fixture
def fit_in_pieces() -> Callable[[Recipe, Path, int], int]:
    """Trains, stopped and resumed every so many batches; the number of stops."""

    def run(recipe: Recipe, path: Path, every: int) -> int:
        for stops in range(1000):
            try:
                train(recipe, path, device=CPU, reporter=Stopper(every))
            except Interrupted:
                torch.rand(5)  # a new process would not find the random state of this one
                continue
            return stops
        raise AssertionError("it never ends")

    return run


@pytest.fixture
def figures() -> Callable[[Path], list[dict[str, Any]]]:
    """A run's metrics, less what the clock decides."""

    def read(path: Path) -> list[dict[str, Any]]:
        timed = ("seconds", "images_per_second")
        return [
            {key: value for key, value in row.items() if key not in timed}
            for row in RunDirectory(path).metrics()
        ]

    return read
