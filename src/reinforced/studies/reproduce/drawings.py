"""Drawings of a record's tables, as SVG, with the report's renderer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from reinforced.files import atomic
from reinforced.report.figure import Axis, Figure, Line, Lines, Values, column
from reinforced.report.paper import save_paper
from reinforced.studies.reproduce.records import NOT_RUN, Record

Cell = Mapping[str, Any]


def draw(records: Mapping[str, Record], folder: Path) -> list[Path]:
    """Write ``STUDY-SIZE-NUMBER.svg`` for each table that is drawn and has something to show."""
    written = []
    for name, record in records.items():
        for table in record["tables"]:
            figure = figure_of(record, table, f"{name}-{table['number']}")
            if figure is None:
                continue
            path = folder / f"{figure.key}.svg"
            with TemporaryDirectory() as scratch, atomic(path) as temporary:
                save_paper(figure, Path(scratch))
                shutil.copyfile(Path(scratch) / f"{figure.key}.svg", temporary)
            written.append(path)
    return written


def figure_of(record: Record, table: Mapping[str, Any], key: str) -> Figure | None:
    """A line a row over the values of ``each``, or curves through a point a row; ``None`` if none is.

    A line or curve one of whose cells was not run is left out.
    """
    asked = table["figure"]
    if asked is None:
        return None
    cells = {(cell["row"], cell["column"]): cell for cell in record["cells"]}
    curves: Mapping[str, Sequence[str]] = asked.get("curves") or {}
    if curves:
        columns = [_named(table, asked["x"]), _named(table, asked["y"])]
        x, y = (_axis(one["title"], one) for one in columns)
    else:
        columns = [one for one in table["columns"] if _number(one["at"]) is not None]
        at = column([_number(one["at"]) for one in columns])
        x = Axis(asked["x"], log=asked["log"], whole=bool((at == at.round()).all()))
        y = _axis(asked.get("y", "accuracy"), columns[0])
    groups = curves or {row: (row,) for row in table["rows"]}
    known = {
        name: [[cells[row, one["id"]] for one in columns] for row in rows]
        for name, rows in groups.items()
        if all(cells[row, one["id"]]["state"] != NOT_RUN for row in rows for one in columns)
    }
    if not known:
        return None
    slots = {name: slot for slot, name in enumerate(groups)}
    if curves:
        lines = [line for name, points in known.items() for line in _curve(name, slots[name], points)]
    else:
        lines = [_line(name, slots[name], at, own) for name, (own,) in known.items()]
    panel = Lines(table["title"], (x,), y, tuple(lines))
    drawn = [row for name in known for row in groups[name]]
    return Figure(key, table["title"], _caption(record, drawn), table["title"], (panel,))


def _line(name: str, slot: int, at: Values, own: Sequence[Cell]) -> Line:
    """A row's cells over the values ``at`` of ``each``."""
    low, high = _ends(own)
    return Line(name, slot, (at,), _means(own), low, high, markers=True)


def _curve(name: str, slot: int, points: Sequence[Sequence[Cell]]) -> list[Line]:
    """Through the points (a cell along x, one along y) in their order, each with both intervals as bars."""
    across, up = ([point[axis] for point in points] for axis in (0, 1))
    low, high = _ends(up)
    curve = Line(name, slot, (_means(across),), _means(up), low, high, span="bars", markers=True)
    # A line of its own for each interval along x, for a line's bars are upright.
    level = [
        Line(name, slot, (np.concatenate(_ends([x])),), np.repeat(_means([y]), 2))
        for x, y in zip(across, up, strict=True)
    ]
    return [curve, *level]


def _means(cells: Sequence[Cell]) -> Values:
    return column([cell["mean"] for cell in cells])


def _ends(cells: Sequence[Cell]) -> tuple[Values, Values]:
    """Of the intervals; the mean where there is none."""
    low, high = (
        column([cell["mean"] if cell[end] is None else cell[end] for cell in cells])
        for end in ("low", "high")
    )
    return low, high


def _axis(label: str, shown: Mapping[str, Any]) -> Axis:
    return Axis(label, percent=shown["unit"] == "share")


def _named(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in table["columns"] if one["id"] == name)
    return found


def _caption(record: Record, rows: Sequence[str]) -> str:
    own = {tuple(row["seeds"]) for row in record["rows"] if row["label"] in rows}
    seeds = f"seeds {', '.join(map(str, *own))}" if len(own) == 1 else "each row's seeds"
    return f"Mean over {seeds}; 95 % interval of seeds and images."


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
