"""What the evaluations in a run directory say: figures, outcomes image by image, curves, pictures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reinforced.report.reading import (
    Array,
    Floats,
    Reader,
    floats,
    interval,
    mapping,
    number,
    objects,
    text,
    texts,
)

AS_RELEASED = " (as released"
"""Columns of ``outcomes.parquet`` with this in their name are in no worst case."""
_OVER = re.compile(r"(?<=\d)-(?=\d)")
"""What a folder has for the fraction's line."""
_FIXED = ("image", "label", "clean_correct", "robust")


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Image x attack.

    Attributes:
        labels: (N,) int64.
        clean, robust: (N,) bool, right before any attack and under every one.
        attacks: attack -> (N,) float64: 1 it stood, 0 it broke, not-a-number where it was not attacked.
        distances: attack -> (N,) float64 in the threat's norm.
    """

    labels: NDArray[np.int64]
    clean: NDArray[np.bool_]
    robust: NDArray[np.bool_]
    attacks: Mapping[str, Floats]
    distances: Mapping[str, Floats]


@dataclass(frozen=True, eq=False)
class Pictures:
    """What an evaluation kept to be looked at: its images, and what the model said of them.

    Attributes:
        clean: (N, C, H, W) uint8.
        predicted, confidence: ``clean`` or attack -> (N,) class and its probability; not-a-number where
            there is no candidate.
    """

    clean: NDArray[np.uint8]
    predicted: Mapping[str, Floats]
    confidence: Mapping[str, Floats]


@dataclass(frozen=True)
class AttackFigures:
    """One attack over all images; ``accuracy`` is not-a-number where it skipped broken images."""

    name: str
    attacked: float
    broken: float
    only: float
    accuracy: float
    median_distance: float
    forwards: float
    gradients: float
    elsewhere: float
    seconds: float
    flags: tuple[str, ...]
    failed: bool


@dataclass(frozen=True, eq=False)
class EvaluationRecord:
    """One finished evaluation; figures that are missing are not-a-number.

    Attributes:
        threat: ``linf:8/255``.
        checkpoint: ``last``, ``best``, or a kept epoch.
        classes: their names; empty if unknown.
        interval: of the robust accuracy, 95 %.
        as_released: what the released procedure claims, plain values as they were recorded.
        verified: whether every example held when these outcomes were checked again; ``None``: they were not.
        setup: everything that decided the outcome.
        skip: test images that come before these.
        data: source of the images, where it was named by hand; else the run's own.
    """

    folder: Path
    threat: str
    checkpoint: str
    classes: tuple[str, ...]
    images: int
    clean_accuracy: float
    robust_accuracy: float
    interval: tuple[float, float]
    autoattack_accuracy: float
    attacks: tuple[AttackFigures, ...]
    as_released: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]
    incomplete: bool
    control: Mapping[str, Any]
    verified: bool | None
    setup: Mapping[str, Any]
    outcomes: Outcomes | None
    pictures: Pictures | None
    skip: int = 0
    data: str = ""

    def accuracy(self, kind: str) -> float:
        """Left by the first attack whose name begins with ``kind``; not-a-number without one."""
        found = (attack.accuracy for attack in self.attacks if attack.name.startswith(kind))
        return next(found, math.nan)

    def examples(self, attack: str, reader: Reader) -> Iterator[tuple[int, Array]]:
        """Row and (C, H, W) float32 candidate of every attacked image, read as they are asked for."""
        chunk = number(self.setup, "chunk")
        size = int(chunk) if math.isfinite(chunk) and chunk >= 1 else 64
        for part in sorted((self.folder / _folder(attack)).glob("chunk-*.npz")):
            stored = reader.arrays(part)
            if not {"attacked", "adversarial"} <= stored.keys() or not part.stem[6:].isdecimal():
                continue
            rows = np.flatnonzero(stored["attacked"]) + int(part.stem[6:]) * size
            yield from zip(rows.tolist(), stored["adversarial"], strict=False)


@dataclass(frozen=True)
class CurveRecord:
    """Robust accuracy ``over`` epsilon or steps: points of ``at``, ``robust_accuracy``, ``interval``.

    Attributes:
        images: over how many; 0 if unknown.
        attack: of the last point; empty if unknown.
    """

    threat: str
    over: str
    images: int
    attack: str
    at: tuple[float, ...]
    robust_accuracy: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class TransferRecord:
    """Accuracy left with its interval, made on (outer key) and tested on (inner key), over ``images``."""

    threat: str
    images: int
    cells: Mapping[str, Mapping[str, tuple[float, float, float]]]


def read_evaluations(reader: Reader) -> tuple[EvaluationRecord, ...]:
    """The finished evaluations of a run, by threat; no deeper: an evaluation's own control lies inside it."""
    files = sorted((reader.root / "evaluations").glob("*/*/evaluation.json"))
    return tuple(_evaluation(reader, file) for file in files)


def read_curves(reader: Reader) -> tuple[CurveRecord, ...]:
    """The curves over epsilon and steps."""
    found = []
    for file in sorted((reader.root / "evaluations").glob("*/over-*.json")):
        points = reader.points(file)
        if points:
            found.append(
                CurveRecord(
                    _threat(file.parent.name),
                    file.stem.removeprefix("over-"),
                    _count(points[0]),
                    text(points[-1], "attack"),
                    tuple(number(point, "at") for point in points),
                    tuple(number(point, "robust_accuracy") for point in points),
                    tuple(interval(point, "interval") for point in points),
                )
            )
    return tuple(found)


def read_transfers(reader: Reader) -> tuple[TransferRecord, ...]:
    """The transfer matrices."""
    found = []
    for file in sorted((reader.root / "evaluations").glob("*/transfer.json")):
        values = reader.json(file)
        points = {
            made: {tested: mapping(row, tested) for tested in row}
            for made, row in values.items()
            if isinstance(row, dict)
        }
        images = max((_count(point) for row in points.values() for point in row.values()), default=0)
        cells = {
            made: {
                tested: (number(point, "robust_accuracy"), *interval(point, "interval"))
                for tested, point in row.items()
            }
            for made, row in points.items()
        }
        found.append(TransferRecord(_threat(file.parent.name), images, cells))
    return tuple(found)


def _evaluation(reader: Reader, file: Path) -> EvaluationRecord:
    folder, values = file.parent, reader.json(file)
    subject = reader.json(folder / "subject.json")
    check = reader.json(folder / "verification.json")
    # A check of outcomes that are no longer these says nothing.
    verified = check.get("holds") if check.get("matrix_sha256") == values.get("matrix_sha256") else None
    attacks = tuple(_attack(one) for one in objects(values, "attacks"))
    return EvaluationRecord(
        folder,
        text(values, "threat", _threat(folder.parent.name)),
        text(subject, "checkpoint", "last"),
        texts(subject, "classes"),
        _count(values),
        number(values, "clean_accuracy"),
        number(values, "robust_accuracy"),
        interval(values, "interval"),
        number(values, "autoattack_accuracy"),
        attacks,
        tuple(objects(values, "as_released")),
        tuple(_said(note) for note in objects(values, "notes")),
        values.get("incomplete") is not False,
        mapping(values, "control"),
        verified if isinstance(verified, bool) else None,
        mapping(values, "setup"),
        _outcomes(reader, folder / "outcomes.parquet"),
        _pictures(reader, folder / "pictures.npz"),
        int(np.nan_to_num(number(subject, "skip"), posinf=0, neginf=0)),
        text(subject, "data"),
    )


def _attack(values: Mapping[str, Any]) -> AttackFigures:
    return AttackFigures(
        text(values, "name", "unnamed"),
        number(values, "attacked"),
        number(values, "broken"),
        number(values, "only"),
        number(values, "accuracy"),
        number(values, "median_distance"),
        number(values, "forwards"),
        number(values, "gradients"),
        number(values, "elsewhere"),
        number(values, "seconds"),
        flags=tuple(_said(flag) for flag in objects(values, "flags")),
        failed=bool(values.get("failed_chunks")),
    )


def _count(point: Mapping[str, Any]) -> int:
    return int(np.nan_to_num(number(point, "images"), posinf=0, neginf=0))


def _said(values: Mapping[str, Any]) -> str:
    return text(values, "message") or ", ".join(f"{key}: {value}" for key, value in values.items())


def _outcomes(reader: Reader, file: Path) -> Outcomes | None:
    columns = reader.columns(file)
    if not {"label", "clean_correct", "robust"} <= columns.keys():
        return None
    count = len(columns["label"])
    names = [
        name
        for name in columns
        if name not in _FIXED and not name.endswith(" distance") and AS_RELEASED not in name
    ]
    return Outcomes(
        np.nan_to_num(floats(columns["label"], count), nan=-1).astype(np.int64),
        floats(columns["clean_correct"], count) == 1,
        floats(columns["robust"], count) == 1,
        {name: floats(columns[name], count) for name in names},
        {name: floats(columns.get(f"{name} distance"), count) for name in names},
    )


def _pictures(reader: Reader, file: Path) -> Pictures | None:
    if not file.is_file():
        return None
    arrays = reader.arrays(file)
    if not arrays:
        return None
    clean = arrays.get("images")
    if clean is None or clean.ndim != 4 or clean.dtype != np.uint8:
        reader.missing(file, "damaged (no images)")
        return None

    def named(kind: str) -> dict[str, Floats]:
        return {
            name.removeprefix(f"{kind} "): array.astype(np.float64)
            for name, array in arrays.items()
            if name.startswith(f"{kind} ") and array.shape == (len(clean),)
        }

    return Pictures(clean, named("predicted"), named("confidence"))


def _threat(folder: str) -> str:
    """``linf:0.15`` from the folder ``linf-0.15``, ``linf:8/255`` from ``linf-8-255``."""
    norm, _, epsilon = folder.partition("-")
    return f"{norm}:{_OVER.sub('/', epsilon)}"


def _folder(attack: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in attack).strip("-").replace("--", "-")


def precedence(record: EvaluationRecord) -> tuple[float, ...]:
    """What is shown before others: the larger one.

    The run's own data, the last weights and the first test images come first, then most images, then no
    crash; of several like that the one that leaves least.
    """
    left = record.robust_accuracy if math.isfinite(record.robust_accuracy) else math.inf
    usual = (not record.data, record.checkpoint == "last", record.skip == 0)
    return *usual, record.images, not record.incomplete, -left


def first_of(records: Sequence[EvaluationRecord], threat: str) -> EvaluationRecord | None:
    """The evaluation under a threat to be shown."""
    return max((record for record in records if record.threat == threat), key=precedence, default=None)
