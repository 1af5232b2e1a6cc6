"""Whether a record can be believed: its figures follow from what lies beside it, and whose weights it is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args

from reinforced.attacks.intervals import clopper_pearson
from reinforced.diagnostics.verdict import Label
from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import model_sha256
from reinforced.training.run import RunDirectory, load_model

ROUNDING = 1e-6
"""Of a share that was divided in float32, over one counted here."""
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, OSError)


def sound_evaluation(record: Mapping[str, Any], folder: Path) -> bool:
    """Whether an ``evaluation.json`` says what its folder's outcomes say; a damaged one does not.

    Passes and seconds are in no other file than the chunks': of them only the form is checked.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(folder / "outcomes.parquet")
        columns = {"clean_accuracy": "clean_correct", "robust_accuracy": "robust"}
        if record["autoattack_accuracy"] is not None:
            names: list[str] = record["setup"]["attacks"]
            columns["autoattack_accuracy"] = next((n for n in names if n.startswith("autoattack")), "")
        left = {figure: table.column(name).to_pylist().count(True) for figure, name in columns.items()}
        bounds = clopper_pearson(left["robust_accuracy"], table.num_rows)
        digests = json.dumps(list(record["setup"]["chunk_sha256"].values()))
        return (
            record["images"] == table.num_rows
            and all(_near(record[figure], count / table.num_rows) for figure, count in left.items())
            and all(_near(*pair) for pair in zip(record["interval"], bounds, strict=True))
            and record["matrix_sha256"] == hashlib.sha256(digests.encode()).hexdigest()
            and all(_counted(one["forwards"], one["gradients"]) for one in record["attacks"])
            and all(one["seconds"] >= 0 for one in record["attacks"])
        )
    except (*_UNREADABLE, pa.ArrowException):
        return False


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


def weights_sha256(run: Path, checkpoint: str) -> str | None:
    """The hash that a record's setup has of a run's weights; ``None`` if they cannot be loaded."""
    file = RunDirectory(run).weights(checkpoint)
    try:
        stat = file.stat()
    except OSError:
        return None
    return _weights_sha256(run, checkpoint, stat.st_mtime_ns, stat.st_size)


@cache
def _weights_sha256(run: Path, checkpoint: str, changed: int, size: int) -> str | None:  # noqa: ARG001
    """Read once for as long as the file, of which time and size are given, stays the same."""
    try:
        return model_sha256(load_model(run, which=checkpoint))
    except ReinforcedError:
        return None


def _near(said: float, counted: float) -> bool:
    return abs(said - counted) < ROUNDING


def _counted(*values: object) -> bool:
    return all(type(value) is int and value >= 0 for value in values)
