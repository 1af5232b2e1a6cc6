"""TensorBoard: event files of one run, written by accelerate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate.tracking import TensorBoardTracker
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reinforced.training.trackers.base import Named


class TensorBoard:
    """``FOLDER/tensorboard/NAME-BEGAN/``: scalars, and texts for files.

    Every process that goes on with the run adds an event file; TensorBoard shows a folder's as one run.
    """

    def __init__(self, folder: Path, run: Named) -> None:
        name = f"{run.name}-{run.began}"
        self._there = EventAccumulator(str(folder / "tensorboard" / name), size_guidance={"scalars": 0})
        if (folder / "tensorboard" / name).is_dir():
            self._there.Reload()
        self._tracker = TensorBoardTracker(name, folder / "tensorboard")
        self._tracker.start()

    def last_step(self, figure: str) -> int:
        """Of an earlier process."""
        if figure not in self._there.scalars.Keys():
            return 0
        steps: list[int] = [event.step for event in self._there.Scalars(figure)]
        return max(steps)

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Scalars."""
        self._tracker.log(dict(figures), step=step)

    def begin(self, recipe: Path, settings: Mapping[str, Any]) -> None:  # noqa: ARG002 - the text holds them
        """The text ``recipe``."""
        if "recipe/text_summary" not in self._there.tensors.Keys():
            self._tracker.log({"recipe": f"```\n{recipe.read_text(encoding='utf-8')}```"}, step=0)

    def attach(self, page: Path, summary: str, step: int) -> None:
        """The text that the page is named after."""
        self._tracker.log({page.stem: summary}, step=step)

    def close(self) -> None:
        """Flush and close the event file."""
        self._tracker.finish()
