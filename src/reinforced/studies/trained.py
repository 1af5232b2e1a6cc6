"""What a run's own files say of its training, at the epochs at which runs are compared."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory

FIGURES = ("validation", "robust_validation", "gap", "passes", "flops", "seconds")
"""Accuracies as shares; ``gap`` is train minus validation accuracy; the rest is spent so far."""
POINTS = ("last epoch", "equal epochs", "equal compute", "best epoch")


@dataclass(frozen=True, eq=False)
class Trained:
    """One run.

    Attributes:
        path: its directory; ``name`` is how it is called.
        data_sha256: hash of all its images.
        rows: of ``metrics.jsonl``; none for a policy that was imported.
        machine: processor, GPU and threads, which decide its seconds.
        test_accuracy: of the last weights; ``None`` before the run has finished.
        state: ``finished``, ``stopped early`` or ``unfinished``.
    """

    path: Path
    name: str
    recipe: Recipe
    data_sha256: str
    machine: str
    rows: tuple[Mapping[str, Any], ...]
    test_accuracy: float | None
    state: str

    @property
    def last(self) -> int:
        """The last finished epoch; 0 without any."""
        return int(self.rows[-1]["epoch"]) if self.rows else 0

    @property
    def passes(self) -> float:
        """Spent in all."""
        return float(self.rows[-1]["passes"]) if self.rows else 0.0

    @property
    def chosen_by(self) -> str:
        """The column that chooses the best weights."""
        select = self.recipe.probe is not None and self.recipe.probe.select
        return "robust_validation_accuracy" if select else "validation_accuracy"

    @property
    def best(self) -> int | None:
        """The epoch of the best weights, the first of equals; 0 for an imported policy."""
        if not self.rows:
            return 0
        # As training keeps them: a rolled-back epoch's own weights are gone.
        known = [row for row in self.rows if self.chosen_by in row and "rolled_back" not in row]
        found = max(known, key=lambda row: float(row[self.chosen_by]), default=None)
        return None if found is None else int(found["epoch"])

    def within(self, passes: float) -> int | None:
        """The last epoch that ends with so many passes spent at most."""
        # Sums of floats: a hair over is not over.
        ended = [int(row["epoch"]) for row in self.rows if row["passes"] <= passes * (1 + 1e-9)]
        return max(ended, default=None)

    def at(self, epoch: int | None) -> dict[str, float | None]:
        """:data:`FIGURES` of the weights after an epoch, and what had been spent; ``None`` if unknown."""
        if epoch is None or not 1 <= epoch <= len(self.rows):
            return dict.fromkeys(FIGURES)
        spent, measured = self.rows[epoch - 1], self._row_of_weights(epoch)
        train, validation = measured.get("train_accuracy"), measured.get("validation_accuracy")
        return {
            "validation": validation,
            "robust_validation": measured.get("robust_validation_accuracy"),
            "gap": None if train is None or validation is None else train - validation,
            **{name: spent.get(name) for name in ("passes", "flops", "seconds")},
        }

    def _row_of_weights(self, epoch: int) -> Mapping[str, Any]:
        """An epoch's own row, or that of the sound weights which a roll-back at its end has put back."""
        if "rolled_back" not in self.rows[epoch - 1]:
            return self.rows[epoch - 1]
        before = [row for row in self.rows[:epoch] if "robust_train_accuracy" in row]
        return next((row for row in reversed(before) if "collapsed" not in row), {})


def read_run(path: Path, name: str) -> Trained:
    """Read a run directory; nothing is loaded or trained.

    Raises:
        ReinforcedError: no run there, a damaged file, or one that a run cannot be compared without.
    """
    directory = RunDirectory(path)
    recipe, rows, summary = directory.recipe, directory.metrics(), directory.summary()
    if [row.get("epoch") for row in rows] != list(range(1, len(rows) + 1)):
        raise ReinforcedError(f"{path / 'metrics.jsonl'}: damaged (not a row an epoch, from 1); restore it")
    if summary is not None and summary["epochs"] != len(rows):
        raise ReinforcedError(
            f"{path / 'metrics.jsonl'}: damaged ({len(rows)} of {summary['epochs']} epochs); restore it"
        )
    if any("passes" not in row for row in rows):
        raise ReinforcedError(f"{path / 'metrics.jsonl'}: has no passes, so no equal compute; train it again")
    if not rows and summary is None:
        raise ReinforcedError(
            f"{path} has not finished an epoch; go on with `reinforced train --resume {path}`"
        )
    tested = None if summary is None else summary.get("test_accuracy")
    state = (
        "unfinished" if summary is None else "stopped early" if summary.get("stopped_early") else "finished"
    )
    return Trained(path, name, recipe, *_environment(path / "environment.json"), tuple(rows), tested, state)


def epochs_at(runs: Sequence[Trained]) -> tuple[dict[str, list[int | None]], int, float]:
    """For each of :data:`POINTS` the epoch of every run; the equal epochs, and the equal passes.

    Imported policies were not trained here, so they set no limit on the others.
    """
    trained = [run for run in runs if run.rows]
    epochs = min((run.last for run in trained), default=0)
    passes = min((run.passes for run in trained), default=0.0)
    points: dict[str, list[int | None]] = {
        "last epoch": [run.last for run in runs],
        "equal epochs": [epochs if run.rows else None for run in runs],
        "equal compute": [run.within(passes) for run in runs],
        "best epoch": [run.best for run in runs],
    }
    return points, epochs, passes


def _environment(file: Path) -> tuple[str, str]:
    """The hash of a run's images, and its machine."""
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        machine = ", ".join(str(values.get(key)) for key in ("processor", "gpu", "device", "threads"))
        return str(values["data_sha256"]), machine
    except OSError:
        raise ReinforcedError(f"no {file}, so the run's images are unknown; restore it") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ReinforcedError(f"{file}: damaged (no data_sha256 in it); restore it") from None
