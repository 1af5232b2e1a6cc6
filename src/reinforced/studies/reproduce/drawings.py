"""Drawings of a record's tables, as SVG, with the report's renderer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reinforced.files import atomic
from reinforced.report.figure import Axis, Figure, Line, Lines, column
from reinforced.report.paper import save_paper
from reinforced.studies.reproduce.records import NOT_RUN, Record


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
    """A line a row, over the values of ``each``; ``None`` where nothing is to be drawn."""
    axis = table["figure"]
    if axis is None:
        return None
    cells = {(cell["row"], cell["column"]): cell for cell in record["cells"]}
    columns = [one for one in table["columns"] if _number(one["at"]) is not None]
    lines = [
        _line(row, slot, columns, cells)
        for slot, row in enumerate(table["rows"])
        if all(cells[row, one["id"]]["state"] != NOT_RUN for one in columns)
    ]
    if not lines:
        return None
    share = columns[0]["unit"] == "share"
    panel = Lines(
        table["title"],
        (Axis(axis["x"], log=axis["log"]),),
        Axis("accuracy" if share else columns[0]["title"], percent=share),
        tuple(lines),
    )
    seeds = ", ".join(map(str, record["seeds"]))
    kinds = dict.fromkeys(cells[line.name, one["id"]]["interval"] for line in lines for one in columns)
    over = " or ".join(kind for kind in kinds if kind)
    caption = f"Mean over seeds {seeds}" + (f", 95 % interval over {over}." if over else ".")
    return Figure(key, table["title"], caption, table["title"], (panel,))


def _line(
    row: str, slot: int, columns: list[Mapping[str, Any]], cells: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Line:
    own = [cells[row, one["id"]] for one in columns]
    ends = [[cell[end] if cell[end] is not None else cell["mean"] for cell in own] for end in ("low", "high")]
    return Line(
        row,
        slot,
        (column([_number(one["at"]) for one in columns]),),
        column([cell["mean"] for cell in own]),
        column(ends[0]),
        column(ends[1]),
        markers=True,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
