"""What an entry's own files say: what is still to do, how far it is, and its row of the table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reinforced.attacks.threat import ThreatModel
from reinforced.files import atomic, write_json
from reinforced.studies.sweep.study import Diagnose, Entry, Evaluate, Study
from reinforced.training.run import SUMMARY

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


def to_do(study: Study, entry: Entry) -> list[str]:
    """The steps of an entry without a finished record: ``train``, ``evaluate linf:0.15``, ``diagnose``."""
    summary = _summary(entry)
    steps = [] if summary else ["train"]
    if study.evaluate is not None:
        for threat in study.evaluate.budgets():
            record = evaluation_of(study.evaluate, entry, threat, study.checkpoint)
            if record is None or record.get("incomplete") is not False:
                steps.append(f"evaluate {threat}")
    if study.diagnose is not None and diagnosis_of(study.diagnose, entry, study.checkpoint) is None:
        steps.append("diagnose")
    return steps


def evaluation_of(
    wanted: Evaluate, entry: Entry, threat: ThreatModel, checkpoint: str
) -> dict[str, Any] | None:
    """The finished evaluation that a study asks for, found by what it says of itself."""
    summary = _summary(entry)
    chosen = wanted.chosen(threat)
    asked = {
        "threat": str(threat),
        "attacks": [attack.name for attack in chosen.sealed],
        "as_released": [attack.name for attack in chosen.released],
        "seed": wanted.seed,
        "run_all": wanted.run_all,
    }
    for record, folder in _records(entry.run, "evaluations/*/*/evaluation.json"):
        setup = {"as_released": [], **record.get("setup", {})}
        subject = _read(folder / "subject.json")
        if (
            summary is not None
            and subject is not None
            and {key: setup.get(key) for key in asked} == asked
            and record.get("images") == min(wanted.images or summary["test_images"], summary["test_images"])
            and subject.get("checkpoint") == checkpoint
        ):
            return record
    return None


def diagnosis_of(wanted: Diagnose, entry: Entry, checkpoint: str) -> dict[str, Any] | None:
    """The finished diagnosis that a study asks for, found by what it says of itself."""
    summary = _summary(entry)
    for record, folder in _records(entry.run, "diagnostics/*/verdict.json"):
        setup = _read(folder / "setup.json")
        if (
            summary is not None
            and setup is not None
            and folder.name.endswith(f"-{checkpoint}")
            and (setup.get("claim"), setup.get("budget"), setup.get("seed"))
            == (wanted.claim, wanted.budget, wanted.seed)
            and record.get("images") == min(wanted.images or summary["test_images"], summary["test_images"])
        ):
            return record
    return None


def keep_error(folder: Path, entry: Entry, error: str | None) -> None:
    """Write down why an entry has failed; ``None`` forgets it."""
    file = _error_file(folder, entry)
    if error is None:
        file.unlink(missing_ok=True)
    else:
        write_json(file, {"error": " ".join(error.split())})


def error_of(folder: Path, entry: Entry) -> str:
    """Why an entry has failed, in one line; empty if it has not."""
    found = _read(_error_file(folder, entry))
    return "" if found is None else str(found["error"])


def row_of(study: Study, entry: Entry, folder: Path) -> Row:
    """An entry's row, from its records alone."""
    left = to_do(study, entry)
    error = error_of(folder, entry) if left else ""
    summary = _summary(entry) or {}
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


def _summary(entry: Entry) -> dict[str, Any] | None:
    found = _read(entry.run / "summary.json") if (entry.run / "recipe.yaml").is_file() else None
    return found if found is not None and all(name in found for name in SUMMARY) else None


def _records(run: Path, pattern: str) -> Iterator[tuple[dict[str, Any], Path]]:
    for file in sorted(run.glob(pattern)):
        found = _read(file)
        if found is not None:
            yield found, file.parent


def _read(file: Path) -> dict[str, Any] | None:
    """A record; ``None`` if it is not there or damaged: then its step is not finished, and says why."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _error_file(folder: Path, entry: Entry) -> Path:
    return folder / "errors" / f"{entry.name}.json"
