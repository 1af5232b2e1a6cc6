"""The report on disk: one HTML file, and beside it a folder of figures and tables for a paper."""

from __future__ import annotations

import csv
import io
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.files import write_json, write_text
from reinforced.report.figure import Cell, Figure, Table
from reinforced.report.figures import draw_all
from reinforced.report.page import render
from reinforced.report.paper import save_paper
from reinforced.report.records import read_runs
from reinforced.report.tables import all_tables

INDEX = "report.json"


@dataclass(frozen=True)
class Report:
    """What was written: the page, the folder, how many figures, and what was missing."""

    html: Path
    folder: Path
    figures: int
    gaps: tuple[str, ...]


def write_report(runs: Sequence[Path], html: Path) -> Report:
    """Write ``html`` and, named after it, the folder of SVG, PNG, CSV and JSON; each whole or not at all.

    Raises:
        ReinforcedError: a path that is no run, a name that is no page's, or a folder of something else.
    """
    if html.suffix not in (".html", ".htm"):
        raise ReinforcedError(f"{html}: a report's name ends in .html, as in {html.name or 'report'}.html")
    if html.is_dir():
        raise ReinforcedError(f"{html} is a folder; name a file in it: {html / 'report.html'}")
    folder = html.with_suffix("")
    _refuse_other_folder(folder, html)
    records = read_runs(runs)
    figures, missing = draw_all(records)
    page = render(records, figures, missing, html)
    with _replaced(folder) as fresh:
        tables = [
            *all_tables(records),
            *(_named(figure, one) for figure in figures for one in figure.tables()),
        ]
        for table in tables:
            write_text(fresh / f"{table.kind}.csv", _csv(table))
        for figure in figures:
            save_paper(figure, fresh)
        gaps = [f"{run.name}: {gap}" for run in records for gap in run.gaps]
        write_json(fresh / INDEX, _index(tables, figures, [*missing, *gaps]))
    write_text(html, page)
    return Report(html, folder, len(figures), tuple(gaps))


def _named(figure: Figure, table: Table) -> Table:
    """A figure's table under the name of its file."""
    kind = f"{figure.key}-{table.kind}" if len(figure.tables()) > 1 else figure.key
    return Table(kind, table.heads, table.rows)


def _index(tables: Sequence[Table], figures: Sequence[Figure], missing: Sequence[str]) -> dict[str, Any]:
    """All tables but those of thousands of cells, whose rows are in their CSV alone."""
    return {
        "figures": [
            {"key": one.key, "title": one.title, "caption": one.caption, "alt": one.alt} for one in figures
        ],
        "tables": {
            one.kind: [dict(zip(one.heads, row, strict=True)) for row in one.rows]
            for one in tables
            if one.kind.rpartition("-")[2] != "surface"
        },
        "missing": list(missing),
    }


def _csv(table: Table) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(table.heads)
    writer.writerows([[_inert(cell) for cell in row] for row in table.rows])
    return file.getvalue()


def _inert(cell: Cell) -> Cell:
    """Text that a spreadsheet would take for a formula, as text."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def _refuse_other_folder(folder: Path, html: Path) -> None:
    there = folder.exists() or folder.is_symlink()
    if there and not (folder.is_dir() and ((folder / INDEX).is_file() or not any(folder.iterdir()))):
        raise ReinforcedError(
            f"{folder} is where {html.name} keeps its figures, and it holds something else; "
            "give the report another name with -o"
        )


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """A fresh folder that takes ``folder``'s place once it is filled."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent)
    except OSError as error:
        raise ReinforcedError(
            f"cannot write {folder}: {error.strerror}; choose a folder you can write to"
        ) from None
    with aside as name:
        fresh = Path(name) / "fresh"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.replace(Path(name) / "old")
        shutil.move(fresh, folder)
