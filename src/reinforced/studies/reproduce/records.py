"""A study's record: every cell with its seeds, its interval and the hashes behind it; canonical JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.files import write_text
from reinforced.studies.reproduce.alike import (
    refuse_other_images,
    refuse_other_training,
    refuse_other_weights,
)
from reinforced.studies.reproduce.imagewise import packed
from reinforced.studies.reproduce.kept import described
from reinforced.studies.reproduce.measures import Column, Reading
from reinforced.studies.reproduce.paper import Table
from reinforced.studies.reproduce.spans import span
from reinforced.studies.reproduce.survey import Survey

SCHEMA = 5
NOT_RUN = "not run"
Record = dict[str, Any]


def record_of(survey: Survey, name: str) -> Record:
    """Everything that the page says of a study, from its runs' files and from what its last record kept.

    Raises:
        ReinforcedError: figures of different weights, images or training would be set side by side.
    """
    paper, size = survey.paper, survey.size
    cells = [
        _cell(survey, label, column)
        for table in paper.tables
        for column in survey.columns(table)
        for label in paper.labels(table)
    ]
    refuse_other_weights(survey, cells)
    refuse_other_images(survey, cells)
    refuse_other_training(survey)
    columns = {column.id for _, column in paper.columns(survey.size_name)}
    return {
        "schema": SCHEMA,
        "study": name,
        "size": survey.size_name,
        "title": paper.title,
        "question": paper.question,
        "assumed": list(paper.assumed),
        "note": size.note,
        "seeds": list(size.seeds),
        "images": size.images,
        "few": size.few,
        "rows": [_row(survey, row.label) for row in paper.rows],
        "tables": [_table(survey, table) for table in paper.tables],
        "cells": cells,
        "published": [
            one.model_dump(exclude={"sizes"})
            for one in paper.published
            if (not one.sizes or survey.size_name in one.sizes) and one.column in columns
        ],
        "claims": [claim.model_dump() for claim in paper.claims],
    }


def canonical(record: Record) -> str:
    """The one text of a record: sorted keys, no figure of the machine, a newline at its end."""
    return json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_record(folder: Path, record: Record) -> Path:
    """Write ``STUDY-SIZE.json``, whole or not at all."""
    path = folder / f"{record['study']}-{record['size']}.json"
    write_text(path, canonical(record))
    return path


def read_record(folder: Path, study: str, size: str) -> Record | None:
    """A study's record; ``None`` where there is none yet.

    Raises:
        ReinforcedError: a damaged one, or one of another version.
    """
    path = folder / f"{study}-{size}.json"
    return _read(path) if path.is_file() else None


def read_records(folder: Path) -> dict[str, Record]:
    """The records of a folder by name: ``gupta2020-cpu``.

    Raises:
        ReinforcedError: a damaged one, or one of another version.
    """
    return {path.stem: _read(path) for path in sorted(folder.glob("*.json"))}


def _read(path: Path) -> Record:
    try:
        record: Record = json.loads(path.read_text(encoding="utf-8"))
        schema = record["schema"]
    except (ValueError, KeyError, TypeError):
        raise ReinforcedError(f"{path}: damaged; move it away, `reinforced reproduce` writes it") from None
    if schema != SCHEMA:
        raise ReinforcedError(
            f"{path}: of record schema {schema}, this version reads {SCHEMA}; move it away, `reinforced "
            "reproduce` writes it"
        )
    return record


def exact(value: float) -> float:
    """Six significant digits, which do not hang on the order of a sum."""
    return float(f"{value:.6g}")


def _cell(survey: Survey, label: str, column: Column) -> Record:
    """A cell; without all its seeds it has no figure at all."""
    seeds = survey.seeds(label)
    known = [one for seed in seeds if (one := survey.known(label, seed, column.id)) is not None]
    least, most = (None if math.isinf(end) else end for end in column.ends)
    cell: Record = {"row": label, "column": column.id, "unit": column.unit, "least": least, "most": most}
    if len(known) < len(seeds):
        return cell | {"state": NOT_RUN}
    values = [
        {
            "seed": seed,
            "value": one.value if isinstance(one.value, str) else exact(one.value),
            **one.evidence,
            **_images(one),
        }
        for seed, one in zip(seeds, known, strict=True)
    ]
    counts = {one.images for one in known}
    cell |= {"state": "measured", "values": values, "images": counts.pop() if len(counts) == 1 else None}
    return cell | _interval(cell)


def _images(reading: Reading) -> Record:
    """What the images allow: the outcome of each, or a standard error."""
    if reading.outcomes is not None:
        return packed(reading.outcomes)
    return {} if reading.error is None else {"error": exact(reading.error)}


def _interval(cell: Record) -> Record:
    """Mean and 95 % interval of a cell's values; ``None`` where a value is a word, or nothing bounds them."""
    numbers = [value["value"] for value in cell["values"] if not isinstance(value["value"], str)]
    bare: Record = {"mean": None, "low": None, "high": None}
    if len(numbers) < len(cell["values"]):
        return bare
    bare["mean"] = exact(math.fsum(numbers) / len(numbers))
    found = span(cell | bare)
    if found is None or math.isinf(found.high):
        return bare
    return bare | {"low": exact(found.low), "high": exact(found.high)}


def _row(survey: Survey, label: str) -> Record:
    row = survey.settled(label)
    return {
        "label": label,
        "seeds": list(survey.seeds(label)),
        "chosen": None if row is None or row.label == label else row.label,
        "choice": survey.choice(label),
        "command": survey.command(label),
    }


def _table(survey: Survey, table: Table) -> Record:
    return {
        "number": table.number,
        "title": table.title,
        "note": table.note,
        "rows": list(survey.paper.labels(table)),
        "columns": [described(column, survey.size) for column in survey.columns(table)],
        "figure": None if table.figure is None else table.figure.model_dump(),
    }
