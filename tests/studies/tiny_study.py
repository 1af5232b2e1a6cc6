"""The small study on digits that the tests run, and how they look into it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from reinforced.studies.reproduce.execute import Outcome, execute
from reinforced.studies.reproduce.kept import Kept
from reinforced.studies.reproduce.paper import Paper, Table, choose_tables, load_paper
from reinforced.studies.reproduce.records import read_record
from reinforced.studies.reproduce.survey import Place, Survey

TINY = Path(__file__).with_name("tiny_study.yaml")


def tables_of(paper: Paper, *numbers: str) -> list[Table]:
    return choose_tables(paper, numbers, "tiny")


def survey(runs: Path, paper: Paper | None = None, records: Path | None = None) -> Survey:
    kept = None if records is None else Kept(read_record(records, "tiny", "cpu"))
    return Survey(paper or load_paper(str(TINY)), "cpu", Place(runs, torch.device("cpu"), None), kept)


def run_study(
    runs: Path,
    records: Path,
    *tables: str,
    paper: Paper | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Outcome:
    found = survey(runs, paper, records)
    return execute(
        found, tables_of(found.paper, *tables), name="tiny", records=records, again="the command", told=told
    )


def record_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "tiny-cpu.json").read_text())
    return found


def cells_of(record: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(cell["row"], cell["column"]): cell for cell in record["cells"]}
