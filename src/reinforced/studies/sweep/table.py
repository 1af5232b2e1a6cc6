"""A sweep's table: a row an entry, from its records alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reinforced.files import atomic
from reinforced.studies.sweep.records import diagnosis_of, error_of, evaluation_of, summary_of, to_do
from reinforced.studies.sweep.study import Entry, Study

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
SECONDS = "seconds"
"""Columns that begin so are of the machine; all others are the same wherever the sweep ran."""

_TRAINED = {
    "epochs": "int64",
    "best_epoch": "int64",
    "validation_accuracy": "float64",
    "best_validation_accuracy": "float64",
    "test_accuracy": "float64",
    "passes": "float64",
}
_EVALUATED = {
    "clean": "float64",
    "robust": "float64",
    "low": "float64",
    "high": "float64",
    "autoattack": "float64",
    "passes": "int64",
    "matrix_sha256": "string",
}
_DIAGNOSED = {"verdict": "string", "claimed": "float64", "residual": "float64", "diagnosis_passes": "int64"}


def row_of(study: Study, entry: Entry, folder: Path) -> Row:
    """An entry's row, from its records alone."""
    left = to_do(study, entry)
    error = error_of(folder, entry)
    summary = summary_of(entry) or {}
    row: Row = {
        "entry": entry.name,
        "recipe": entry.label,
        "overrides": json.dumps(dict(entry.overrides)),
        "seed": entry.recipe.seed,
        "state": "failed" if error else f"to do: {', '.join(left)}" if left else "finished",
        "error": error or None,
        **{name: summary.get(name) for name in _TRAINED},
    }
    seconds: dict[str, float | None] = {"train": summary.get("seconds")}
    if study.evaluate is not None:
        for threat in study.evaluate.budgets():
            found = evaluation_of(study.evaluate, entry, threat, study.checkpoint)
            row |= {f"{threat} {name}": value for name, value in _evaluated(found).items()}
            attacks = found["attacks"] if found else []
            seconds[str(threat)] = sum(one["seconds"] for one in attacks) if found else None
    if study.diagnose is not None:
        found = diagnosis_of(study.diagnose, entry, study.checkpoint) or {}
        row |= {
            "verdict": found.get("label"),
            **{name: (found.get(name) or {}).get("share") for name in ("claimed", "residual")},
            "diagnosis_passes": found.get("passes"),
        }
    return row | {f"{SECONDS} {name}": value for name, value in seconds.items()}


def write_table(path: Path, study: Study, rows: Sequence[Row]) -> None:
    """The rows as Parquet, whole or not at all."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=_schema(study)), temporary)


def identity(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows without the columns that tell the machine's speed."""
    return [{key: value for key, value in row.items() if not key.startswith(SECONDS)} for row in rows]


def _schema(study: Study) -> pa.Schema:
    """Of the table: the same whatever its rows hold."""
    import pyarrow as pa  # noqa: PLC0415

    columns = dict.fromkeys(("entry", "recipe", "overrides"), "string") | {"seed": "int64"}
    columns |= {"state": "string", "error": "string", **_TRAINED}
    threats = [] if study.evaluate is None else study.evaluate.budgets()
    for threat in threats:
        columns |= {f"{threat} {name}": kind for name, kind in _EVALUATED.items()}
    if study.diagnose is not None:
        columns |= _DIAGNOSED
    columns |= {f"{SECONDS} {name}": "float64" for name in ("train", *map(str, threats))}
    return pa.schema([(name, getattr(pa, kind)()) for name, kind in columns.items()])


def _evaluated(record: Mapping[str, Any] | None) -> Row:
    if record is None:
        return dict.fromkeys(_EVALUATED)
    low, high = record["interval"]
    return {
        "clean": record["clean_accuracy"],
        "robust": record["robust_accuracy"],
        "low": low,
        "high": high,
        "autoattack": record["autoattack_accuracy"],
        "passes": sum(one["forwards"] + one["gradients"] for one in record["attacks"]),
        "matrix_sha256": record["matrix_sha256"],
    }
