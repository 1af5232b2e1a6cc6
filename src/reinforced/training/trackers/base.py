"""The protocol of a tracker, and what a run is called in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from reinforced.training.run import RunDirectory


@dataclass(frozen=True)
class Named:
    """What is the same whenever a run goes on, and another when its directory is begun anew.

    Attributes:
        name: of the run directory.
        began: UTC, to the microsecond.
    """

    name: str
    began: str

    @classmethod
    def of(cls, directory: RunDirectory) -> Named:
        """A run that has its ``recipe.yaml``, which is written once, when it begins."""
        # The file's time, for the run's own bytes must not know of trackers.
        written = (directory.path / "recipe.yaml").stat().st_mtime
        return cls(directory.path.resolve().name, f"{datetime.fromtimestamp(written, UTC):%Y%m%d-%H%M%S-%f}")


class Tracker(Protocol):
    """One run in a tracker."""

    def last_step(self, figure: str) -> int:
        """The last step that has this figure; 0 for none."""

    def log(self, figures: Mapping[str, float], step: int) -> None:
        """Add figures at a step."""

    def begin(self, recipe: Path, settings: Mapping[str, Any]) -> None:
        """Keep the recipe, as a file and as its settings, unless it is there."""

    def attach(self, page: Path, summary: str, step: int) -> None:
        """Keep a file, or in a tracker that holds no files its summary in Markdown."""

    def close(self) -> None:
        """Write what is pending."""
