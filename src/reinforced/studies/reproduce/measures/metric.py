"""What training itself wrote down, at its last epoch or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from reinforced.component import setting
from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.studies.reproduce.measures.base import Bench, Column, Reading, Unit, digest, sha256
from reinforced.training.run import RunDirectory


class Metric(Column):
    """A column of ``metrics.jsonl``; ``collapses`` counts the epochs of catastrophic overfitting."""

    measure: Literal["metric"]
    name: str = setting(..., "validation_accuracy, robust_train_accuracy, passes, ... or collapses")
    checkpoint: str = setting("last", "last, or the number of an epoch")

    @property
    def unit(self) -> Unit:
        """See :class:`Column`."""
        return "share" if self.name.endswith("accuracy") else "number"

    @property
    def epoch(self) -> str:
        """See :class:`Column`."""
        return self.checkpoint

    def check(self) -> None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: metrics are of an epoch, and of no other checkpoint.
        """
        if self.checkpoint != "last" and not self.checkpoint.isdecimal():
            raise ReinforcedError(
                f"column {self.id}: checkpoint: {self.checkpoint}: metrics are kept by epoch; give last or a "
                "number"
            )

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: the run has no such epoch, or the epoch no such figure.
        """
        directory = RunDirectory(bench.run)
        summary = directory.summary()
        if summary is None:
            return None
        rows = directory.metrics()
        if self.name == "collapses":
            value = float(sum(bool(row.get("collapsed")) for row in rows))
        else:
            epoch = len(rows) if self.checkpoint == "last" else int(self.checkpoint)
            if not 1 <= epoch <= len(rows):
                raise ReinforcedError(
                    f"column {self.id}: {bench.run} has {len(rows)} epochs, none is {epoch}"
                )
            row = rows[epoch - 1]
            if self.name not in row:
                near = did_you_mean(self.name, row)
                raise ReinforcedError(
                    f"column {self.id}: epoch {epoch} of {bench.run} has no {self.name}{near}"
                )
            value = float(row[self.name])
        evidence = {"outcomes": sha256(repr(value)), "model": digest(bench.run, "last") or ""}
        # Training says of what images, but not of those that it changed meanwhile.
        images = summary.get(self.name.replace("accuracy", "images")) if self.unit == "share" else None
        return Reading(value, images, evidence)

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`: training has measured it."""

    def passes(self, images: int) -> float:  # noqa: ARG002
        """See :class:`Column`."""
        return 0.0
