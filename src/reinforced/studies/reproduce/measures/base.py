"""What every column is: where its figure of one run is found, how it is made, and what that costs."""

from __future__ import annotations

import hashlib
import json
import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from reinforced.component import Component, setting
from reinforced.errors import ReinforcedError
from reinforced.files import write_json
from reinforced.studies.subjects import Source, Subject, load_subject
from reinforced.studies.weights import weights_sha256
from reinforced.training.run import RunDirectory

Unit = Literal["share", "number", "text"]
Value = float | str
HERE = "measurements"
"""Folder of a run for what no other command keeps."""


@dataclass(frozen=True)
class Reading:
    """A column's figure of one run.

    Attributes:
        value: a share of 1, another number, or a word.
        images: it is a share of; ``None`` where it is of no images.
        evidence: hashes of what it was read from.
        outcomes: of each test image 1 or 0, or of a difference 1, 0 or -1; ``None`` where they are not kept.
        error: standard error over the images, where it does not follow from the others.
    """

    value: Value
    images: int | None
    evidence: Mapping[str, str]
    outcomes: tuple[int, ...] | None = None
    error: float | None = None


@dataclass(frozen=True)
class Bench:
    """Where one run is measured.

    Attributes:
        run: its directory.
        images, few: test images of an ordinary column, and of a dear one.
        test: data source of the test images; ``None`` for the run's own.
        device, root: where to compute, and the folder of data sets.
        sibling: the run of another row with the same seed; ``None`` where it has not been trained.
        neighbour: the run of a row, this one or another, with that row's next seed; ``None`` likewise.
        other: the reading of another column of the same run.
    """

    run: Path
    images: int
    few: int
    test: str | None
    device: torch.device
    root: Path | None
    sibling: Callable[[str], Path | None]
    neighbour: Callable[[str], Path | None]
    other: Callable[[str], Reading | None]

    def subject(self, checkpoint: str, images: int | None, run: Path | None = None, skip: int = 0) -> Subject:
        """The run's model, or another run's, with the first test images after ``skip``.

        Raises:
            ReinforcedError: there are fewer images than that.
        """
        subject = load_subject(
            str(run or self.run), self.source(checkpoint, images, skip), self.device, self.run / HERE
        )
        if images is not None and len(subject.labels) < images:
            data = self.test or RunDirectory(run or self.run).recipe.data.source
            found = skip + len(subject.labels)
            raise ReinforcedError(f"{data}: has {found} test images; {skip + images} are asked for")
        return subject

    @property
    def data(self) -> str:
        """Name of the data source of the test images."""
        return self.test or RunDirectory(self.run).recipe.data.source

    def source(self, checkpoint: str, images: int | None, skip: int = 0) -> Source:
        """How the subject is found again."""
        return Source(data=self.test, checkpoint=checkpoint, images=images, root=self.root, skip=skip)


class Column(Component):
    """A column of a table.

    ``{}`` in any text stands for one value of ``each``, which makes a column of each value, with the id
    ``ID@VALUE``.
    """

    id: str = setting(..., "what cells are called by; of one column in the study", min_length=1)
    title: str = setting("", "head of the column; the id if left out")
    few: bool = setting(False, "on the size's few images, because it is dear")
    each: tuple[float | str, ...] | dict[str, tuple[float | str, ...]] = setting(
        (), "values that {} takes one after the other; a mapping holds those of each size"
    )
    standing: float = setting(
        1.0, "images expected to stand until the end; of the estimate only", unit="share", ge=0, le=1
    )

    @property
    def unit(self) -> Unit:
        """How its values are written."""
        return "share"

    @property
    def ends(self) -> tuple[float, float]:
        """What every value lies between, whatever the model and the images; so must its interval."""
        return (0.0, 1.0) if self.unit == "share" else (-math.inf, math.inf)

    @property
    def epoch(self) -> str:
        """The checkpoint that it is about."""
        return "last"

    @property
    def sources(self) -> tuple[str, ...]:
        """Rows whose runs it needs as well."""
        return ()

    @property
    def all_seeds(self) -> bool:
        """Whether it needs those runs of every seed, and not of the run's own alone."""
        return False

    @property
    def parts(self) -> tuple[str, ...]:
        """Columns that it is made from; one with parts is never measured itself."""
        return ()

    def check(self) -> None:
        """Refuse what cannot be measured, before anything is trained."""

    def count(self, bench: Bench) -> int:
        """Images that it asks for."""
        return bench.few if self.few else bench.images

    @abstractmethod
    def read(self, bench: Bench) -> Reading | None:
        """The figure, from files alone; ``None`` where it has not been measured just so."""

    @abstractmethod
    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """Measure what :meth:`read` looks for; what is there is not done again."""

    def passes(self, images: int) -> float:
        """About what measuring takes, in passes."""
        return float(images)

    def command(self, images: int, test: str | None) -> str:  # noqa: ARG002
        """What measures it on a run by hand; empty where training does, or nothing but the study."""
        return ""


class Tested(Column):
    """A column of the size's first test images, or of as many that follow them."""

    fresh: bool = setting(
        False, "on as many test images that follow the size's, to see whether a figure returns"
    )

    def check(self) -> None:
        """See :class:`Column`."""
        if self.fresh and self.few:
            raise ReinforcedError(f"column {self.id}: is few or fresh, not both")

    def skip(self, images: int) -> int:
        """Test images before the ``images`` that it asks for."""
        return images if self.fresh else 0


def options(images: int, test: str | None, checkpoint: str, skip: int = 0) -> str:
    """The end of a command."""
    source = [] if test is None else ["--source", test]
    which = [] if checkpoint == "last" else ["--checkpoint", checkpoint]
    past = ["--skip", str(skip)] if skip else []
    return " ".join(["--images", str(images), *past, *source, *which])


def digest(run: Path, checkpoint: str) -> str | None:
    """Hash of a finished run's weights, as evaluations have it; ``None`` while there are none to speak of."""
    return None if RunDirectory(run).summary() is None else weights_sha256(run, checkpoint)


def read_json(file: Path) -> dict[str, Any] | None:
    """A record; ``None`` where there is none.

    Raises:
        ReinforcedError: it is damaged.
    """
    if not file.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ReinforcedError(f"{file}: damaged (not JSON); delete it and measure again") from None
    return values


def sha256(text: str) -> str:
    """Of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def keep_outcomes(file: Path, right: Tensor, **about: str) -> None:
    """Write down which images (N,) bool were right, and of what."""
    write_json(file, {**about, "images": len(right), "right": "".join("01"[int(one)] for one in right)})


def read_outcomes(file: Path, images: int | None, **about: str | None) -> Reading | None:
    """The share that was right; ``None`` where it is about something else."""
    record = read_json(file)
    if record is None or any(record.get(key) != value for key, value in about.items()):
        return None
    if images is not None and record["images"] != images:
        return None
    evidence = {"outcomes": sha256(record["right"]), "model": record["model"], "data": record["data"]}
    outcomes = tuple(map(int, record["right"]))
    return Reading(sum(outcomes) / len(outcomes), record["images"], evidence, outcomes)
