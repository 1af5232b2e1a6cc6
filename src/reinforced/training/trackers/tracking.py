"""Keeping trackers up to date with run directories, which stay the truth and know nothing of them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.training.methods import settings
from reinforced.training.progress import Reporter
from reinforced.training.run import RunDirectory
from reinforced.training.trackers.base import Named, Tracker

# What each needs beyond accelerate; without SQLAlchemy and Alembic MLflow has no SQLite.
PACKAGES = {"tensorboard": ("tensorboard",), "mlflow": ("mlflow", "sqlalchemy", "alembic")}
CLASSES = {"tensorboard": "TensorBoard", "mlflow": "MLflow"}
FOLDER = "tracking"


@dataclass(frozen=True)
class Tracking:
    """Which trackers are kept, and where: ``folder``, or ``tracking`` beside each run.

    Raises:
        ReinforcedError: no such tracker, or its package is not installed.
    """

    kinds: Sequence[str]
    folder: Path | None = None

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in PACKAGES:
                raise ReinforcedError(f"no such tracker {kind!r}{did_you_mean(kind, PACKAGES)}")
            missing = [package for package in PACKAGES[kind] if find_spec(package) is None]
            if missing:
                raise ReinforcedError(
                    f"--track {kind} needs {', '.join(missing)}: pip install 'reinforced[track]'"
                )

    def open(self, kind: str, directory: RunDirectory) -> Tracker:
        """A tracker's run for a run directory, made if new."""
        module = importlib.import_module(f"reinforced.training.trackers.{kind}")
        folder = self.folder if self.folder is not None else directory.path.resolve().parent / FOLDER
        tracker: Tracker = getattr(module, CLASSES[kind])(folder, Named.of(directory))
        return tracker


class Followed:
    """A tracker's run, brought up to its run directory: every epoch once, whichever process trained it."""

    def __init__(self, tracker: Tracker, directory: RunDirectory) -> None:
        self.tracker = tracker
        recipe = directory.recipe.model_dump(mode="json", by_alias=True)
        tracker.begin(directory.path / "recipe.yaml", {"seed": recipe["seed"], **settings(recipe)})
        self.epoch = tracker.last_step("loss")
        for row in directory.metrics():
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """The figures of an epoch, unless it has them."""
        if row["epoch"] > self.epoch:
            self.epoch = row["epoch"]
            figures = {name: float(value) for name, value in row.items() if isinstance(value, (int, float))}
            del figures["epoch"]
            self.tracker.log(figures, self.epoch)

    def end(self, summary: Mapping[str, Any] | None) -> None:
        """What only a finished run has."""
        if summary is not None and not self.tracker.last_step("test_accuracy"):
            self.tracker.log({"test_accuracy": summary["test_accuracy"]}, self.epoch)


class Tracked:
    """A reporter that tells trackers too; of an epoch only once it is saved."""

    def __init__(self, reporter: Reporter, followed: Mapping[str, Followed]) -> None:
        self._reporter, self._followed = reporter, followed

    def start(self, total: int, done: int) -> None:
        """As it is."""
        self._reporter.start(total, done)

    def advance(self, images: int) -> None:
        """As it is."""
        self._reporter.advance(images)

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Reporter and trackers."""
        self._reporter.epoch(row, epochs)
        for kind, one in self._followed.items():
            with _explained(kind):
                one.add(row)

    def note(self, text: str) -> None:
        """As it is."""
        self._reporter.note(text)


@contextmanager
def tracked(reporter: Reporter, run: RunDirectory, tracking: Tracking | None) -> Iterator[Reporter]:
    """A reporter to train a prepared run directory with, in the main process.

    Raises:
        ReinforcedError: a tracker cannot be written; what was trained is saved.
    """
    with ExitStack() as stack:
        followed = {kind: stack.enter_context(_following(kind, run, tracking)) for kind in _kinds(tracking)}
        yield Tracked(reporter, followed) if followed else reporter
        for kind, one in followed.items():
            with _explained(kind):
                one.end(run.summary())


def attach_report(run: Path, page: Path, summary: str, tracking: Tracking) -> None:
    """Keep a report on a run with its figures, which are added where they are missing.

    Args:
        run: the run directory.
        page: the report.
        summary: what a tracker without files keeps of it, Markdown.
        tracking: where.

    Raises:
        ReinforcedError: no run there, or a tracker cannot be written.
    """
    directory = RunDirectory(run)
    for kind in _kinds(tracking):
        with _following(kind, directory, tracking) as one, _explained(kind):
            one.end(directory.summary())
            one.tracker.attach(page, summary, one.epoch)


def _kinds(tracking: Tracking | None) -> list[str]:
    return [] if tracking is None else list(dict.fromkeys(tracking.kinds))


@contextmanager
def _following(kind: str, run: RunDirectory, tracking: Tracking | None) -> Iterator[Followed]:
    assert tracking is not None
    with _explained(kind):
        tracker = tracking.open(kind, run)
    try:
        with _explained(kind):
            followed = Followed(tracker, run)
        yield followed
    finally:
        with _explained(kind):
            tracker.close()


@contextmanager
def _explained(kind: str) -> Iterator[None]:
    """A tracker's own errors, of many classes, as one that says how to go on."""
    try:
        yield
    except ReinforcedError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReinforcedError(
            f"--track {kind} failed ({reason}); what was trained is saved: go on without it, or with another "
            "--track-to DIR"
        ) from error
