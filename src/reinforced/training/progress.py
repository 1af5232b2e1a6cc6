"""What a person sees of a run: a bar with images/s and time left, and a line an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Reporter(Protocol):
    """Told of a run's progress."""

    def start(self, total: int, done: int) -> None:
        """Training begins: ``total`` images in all epochs, ``done`` of them behind us."""

    def advance(self, images: int) -> None:
        """Some images were trained on."""

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """An epoch ended with this row of metrics, of so many epochs."""

    def note(self, text: str) -> None:
        """Something happened that the user must know."""


class Silent:
    """Says nothing."""

    def start(self, total: int, done: int) -> None:
        """Nothing."""

    def advance(self, images: int) -> None:
        """Nothing."""

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""


class Bar:
    """A progress bar on a terminal; a plain line an epoch where there is none."""

    def __init__(self, progress: Progress, task: TaskID, console: Console, *, lines: bool) -> None:
        self._progress, self._task, self._console, self._lines = progress, task, console, lines

    def start(self, total: int, done: int) -> None:
        """Show the bar's length."""
        self._progress.update(self._task, total=total, completed=done)

    def advance(self, images: int) -> None:
        """Move the bar."""
        self._progress.advance(self._task, images)

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:
        """Show the last epoch's figures beside the bar, and print them as a line where asked."""
        figures = (
            f"loss {row['loss']:.4f}  train {row['train_accuracy']:.1%}  "
            f"validation {row['validation_accuracy']:.1%}  "
        )
        robust = row.get("robust_validation_accuracy", row.get("robust_train_accuracy"))
        if robust is not None:
            figures += f"robust {robust:.1%}  "
        figures += f"{row['images_per_second']:,.0f} images/s"
        self._progress.update(self._task, figures=figures)
        if self._lines:
            self._console.print(f"epoch {row['epoch']}/{epochs}  {figures}", highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print it as a line of its own."""
        self._console.print(text, highlight=False, style="yellow", soft_wrap=True)


@contextmanager
def progress_bar(title: str, *, lines: bool = True) -> Iterator[Bar]:
    """A bar on standard error, empty until :meth:`Bar.start`; ``lines`` adds a plain line an epoch."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}", markup=False),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(title, total=None, figures="")
        yield Bar(progress, task, console, lines=lines)
