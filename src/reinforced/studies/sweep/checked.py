"""Whether a record can be believed: its figures follow from what lies beside it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np

from reinforced.attacks.intervals import clopper_pearson
from reinforced.diagnostics.verdict import Label
from reinforced.errors import ReinforcedError
from reinforced.evaluation.job import folder_name
from reinforced.studies.outcomes import read_columns

ROUNDING = 1e-6
"""Of a share that was divided in float32."""
EXACT = 1e-12
"""Of one in float64, and of an interval by another version of the same functions."""
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OSError)


def sound_evaluation(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether an ``evaluation.json`` says what its folder's outcomes and chunks say; a damaged one does not.

    Of the seconds, and of the passes of chunks that are no longer there, only the form is checked.
    """
    try:
        columns = {"clean_accuracy": "clean_correct", "robust_accuracy": "robust"}
        if record["autoattack_accuracy"] is not None:
            own = {
                one["accuracy"]: one["name"]
                for one in record["attacks"]
                if one["name"].startswith("autoattack")
            }
            columns["autoattack_accuracy"] = own[record["autoattack_accuracy"]]
        masks = read_columns(folder / "outcomes.parquet", *columns.values())
        images = len(masks[0])
        left = {figure: int(mask.sum()) for figure, mask in zip(columns, masks, strict=True)}
        bounds = clopper_pearson(left["robust_accuracy"], images)
        digests = json.dumps(list(record["setup"]["chunk_sha256"].values()))
        return (
            record["images"] == images
            and all(_near(record[figure], count / images, ROUNDING) for figure, count in left.items())
            and _near(record["robust_accuracy"], left["robust_accuracy"] / images)
            and all(_near(*pair) for pair in zip(record["interval"], bounds, strict=True))
            and record["matrix_sha256"] == hashlib.sha256(digests.encode()).hexdigest()
            and all(one["seconds"] >= 0 and _passes(one, record, folder) for one in record["attacks"])
        )
    except (*_UNREADABLE, ReinforcedError, ZeroDivisionError):
        return False


def _passes(attack: Mapping[str, Any], record: Mapping[str, Any], folder: Path) -> bool:
    """Whether an attack's passes are those of its chunks."""
    place, digests = folder / folder_name(attack["name"]), record["setup"]["chunk_sha256"][attack["name"]]
    chunks = [place / f"chunk-{number:04d}.npz" for number, digest in enumerate(digests) if digest]
    said = [attack["forwards"], attack["gradients"]]
    if not all(chunk.is_file() for chunk in chunks):
        return _counted(*said)
    counts = [_chunk_passes(chunk, chunk.stat().st_mtime_ns) for chunk in chunks]
    return said == [sum(one) for one in zip(*counts, strict=True)]


@cache
def _chunk_passes(chunk: Path, changed: int) -> tuple[int, int]:  # noqa: ARG001
    """Forwards and gradients of a chunk of that time, without reading its images.

    Raises:
        ValueError: it is damaged.
    """
    try:
        with chunk.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            counts = json.loads(str(stored["said"]))[0]
            return counts["forwards"], counts["gradients"]
    except Exception as error:  # of many classes, see reinforced.evaluation.chunks.read_part
        raise ValueError(str(error)) from None


def sound_diagnosis(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether a ``verdict.json`` is in itself consistent, and the same as the run's copy if that is of it."""
    try:
        images, claimed = record["images"], record["claimed"]
        shares = [claimed, record["residual"], record["loss"]]
        beside = folder.parents[1] / "verdict.json"
        copy = json.loads(beside.read_text(encoding="utf-8")) if beside.is_file() else {}
        return (
            record["label"] in get_args(Label)
            and _counted(images, record["passes"], *(one["count"] for one in shares))
            and all(_near(one["share"], one["count"] / images) for one in shares)
            and claimed["count"] == sum(one["count"] for one in shares[1:])
            and (copy.get("folder") != folder.name or copy == {**record, "folder": folder.name})
        )
    except (*_UNREADABLE, ZeroDivisionError):
        return False


def _near(said: float, counted: float, rounding: float = EXACT) -> bool:
    return abs(said - counted) < rounding


def _counted(*values: object) -> bool:
    return all(type(value) is int and value >= 0 for value in values)
