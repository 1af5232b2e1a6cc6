"""The page: from records alone, byte for byte, and without a figure that no record holds."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.book import Book
from reinforced.studies.reproduce.drawings import figure_of
from reinforced.studies.reproduce.ledger import answer, difference
from reinforced.studies.reproduce.page import bare_figures, render, write_page
from reinforced.studies.reproduce.records import Record, read_records

DOCS = Path(__file__).parents[2] / "docs" / "results"
PAGE = '{{ cell("made-cpu", "RL", "robust") }}'


UNITS = {"clean": "share", "robust": "share", "verdict": "text", "margin": "number"}


def cell(row: str, column: str, *values: float | str, interval: float | None = 0.01) -> dict[str, Any]:
    base = {"row": row, "column": column, "unit": UNITS[column]}
    if not values:
        return base | {"state": "not run"}
    numbers = [value for value in values if not isinstance(value, str)]
    mean = sum(numbers) / len(numbers) if numbers else None
    ends = (None, None) if mean is None or interval is None else (mean - interval, mean + interval)
    return base | {
        "state": "measured",
        "values": [{"seed": seed, "value": value} for seed, value in enumerate(values)],
        "images": 500,
        "mean": mean,
        "low": ends[0],
        "high": ends[1],
        "interval": "seeds",
    }


def made() -> Record:
    """A record by hand: RL was measured, SL has a cell that was not."""
    rows = [
        {"label": label, "seeds": [0, 1, 2], "chosen": None, "command": "train"} for label in ("SL", "RL")
    ]
    columns = [
        {"id": name, "title": name, "unit": unit, "command": "", "at": ""} for name, unit in UNITS.items()
    ]
    return {
        "schema": 1,
        "study": "made",
        "size": "cpu",
        "question": "Is it?",
        "assumed": [],
        "note": "Small.",
        "seeds": [0, 1, 2],
        "images": 500,
        "few": 8,
        "rows": rows,
        "tables": [
            {
                "number": "1",
                "title": "All",
                "note": "",
                "rows": ["SL", "RL"],
                "columns": columns,
                "figure": None,
            }
        ],
        "cells": [
            cell("SL", "clean", 0.7, 0.71, 0.72),
            cell("SL", "robust"),
            cell("SL", "verdict"),
            cell("SL", "margin", 8.8, 9.0, 8.6),
            cell("RL", "clean", 0.69, 0.72, 0.7),
            cell("RL", "robust", 0.2, 0.22, 0.24),
            cell("RL", "verdict", "masked", "masked", "overstated"),
            cell("RL", "margin", 19.1, 19.2, 19.3),
        ],
        "published": [{"row": "RL", "column": "robust", "percent": 55.0, "source": "the paper"}],
        "claims": [],
    }


def test_the_committed_page_comes_from_the_committed_records() -> None:
    page, folder = DOCS / "study.md", DOCS / "study"
    assert write_page(DOCS / "study.md.j2", read_records(folder), page, folder) == page.read_text()


def test_every_drawing_that_the_page_names_is_there() -> None:
    named = re.findall(r"!\[.*?\]\((.*?)\)", (DOCS / "study.md").read_text())
    assert [name for name in named if not (DOCS / name).is_file()] == []
    assert sorted((DOCS / "study").glob("*.svg")) == sorted(DOCS / name for name in named)


def test_a_cell_a_difference_and_a_published_figure() -> None:
    template = (
        'RL keeps {{ cell("made-cpu", "RL", "robust") }}, '
        'in the paper {{ published("made-cpu", "RL", "robust") }}; '
        'clean {{ difference("made-cpu", "RL", "SL", "clean") }}; {{ value("made-cpu", "RL", "margin") }}; '
        '{{ cell("made-cpu", "RL", "verdict") }}.'
    )
    text = render(template, {"made-cpu": made()}, "study")
    assert text.startswith("RL keeps 22.0 % [21.0, 23.0], in the paper 55 %; clean -0.7 points [")
    assert text.endswith("; 19.2; masked (2 of 3), overstated (1 of 3).")


def test_short_cells_say_not_run_and_show_no_figure() -> None:
    template = '{{ cell("made-cpu", "SL", "robust") }}, {{ difference("made-cpu", "RL", "SL", "robust") }}'
    assert render(template, {"made-cpu": made()}, "study") == "not run, not run"
    table = render('{{ table("made-cpu", "1") }}', {"made-cpu": made()}, "study")
    assert "| SL | 71.0 % [70.0, 72.0] | not run | not run | 8.8 [8.79, 8.81] |" in table
    assert (
        "| RL | 70.3 % [69.3, 71.3] | 22.0 % [21.0, 23.0] (55 %) | masked (2 of 3), overstated (1 of 3) |"
        in table
    )
    assert render('{{ study("none-cpu") }}', {}, "study") == "`none-cpu`: not run.\n"


def test_a_changed_record_changes_the_page() -> None:
    other = copy.deepcopy(made())
    other["cells"][5] = cell("RL", "robust", 0.3, 0.3, 0.3)
    assert render(PAGE, {"made-cpu": made()}, "study") != render(PAGE, {"made-cpu": other}, "study")


@pytest.mark.parametrize(
    "prose",
    [
        "RL keeps 22 % of it.",
        "RL keeps 22.0 % [21, 23].",
        "ten times, or 10x",
        '{{ "22 %" }}',
        "{{ 22 }}",
        '{% set robust = "22 %" %}{{ robust }}',
        f'{PAGE}{{{{ " of 500" }}}}',
        "it took 2000 images",
        '{% macro said(text) %}{{ text }}{% endmacro %}{{ said("22 %") }}',
        "`22 %`",
    ],
)
def test_a_figure_in_the_prose_without_a_record_is_refused(prose: str) -> None:
    assert bare_figures(prose) != []
    with pytest.raises(ReinforcedError, match="comes from no record"):
        render(prose, {"made-cpu": made()}, "study")


@pytest.mark.parametrize(
    "prose",
    [
        "CIFAR-10 and CIFAR-100 at L-inf 8/255, a ResNet-18 under PGD-10",
        "Zou et al. 2026 and Gupta 2020 (arXiv 2012.04353)",
        "## 1. The ablation\n\nTable 2.1 [here](study/made-cpu-2.1.svg), 95 % t-interval",
        "`reinforced reproduce ablation --table 1.1`",
        PAGE,
    ],
)
def test_names_may_have_digits(prose: str) -> None:
    assert bare_figures(prose) == []


def test_an_unknown_cell_or_table_names_the_nearest() -> None:
    records = {"made-cpu": made()}
    with pytest.raises(ReinforcedError, match=r"no cell RL, robst; did you mean 'RL, robust'\?"):
        render('{{ cell("made-cpu", "RL", "robst") }}', records, "study")
    with pytest.raises(ReinforcedError, match=r"no table '11'; did you mean '1'\?"):
        render('{{ table("made-cpu", "11") }}', records, "study")
    with pytest.raises(ReinforcedError, match="template: 'cel' is undefined"):
        render("{{ cel() }}", records, "study")
    with pytest.raises(ReinforcedError, match="template: "):
        render("{{ cell( }}", records, "study")


def condition(row: str, column: str, minus: str = "", **bounds: float) -> dict[str, Any]:
    second = {"row": minus, "column": column} if minus else None
    return {"cell": {"row": row, "column": column}, "minus": second, "least": None, "most": None, **bounds}


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([condition("RL", "robust", least=0.18)], "holds"),
        ([condition("RL", "robust", least=0.18, most=0.26)], "holds"),
        ([condition("RL", "robust", least=0.2)], "undecided"),  # over seeds from 0.21, over images from 0.185
        ([condition("RL", "robust", least=0.3)], "does not hold"),
        ([condition("RL", "robust", most=0.18)], "does not hold"),
        ([condition("RL", "margin", least=19.18)], "holds"),  # no share of the images
        ([condition("SL", "robust", least=0.0)], "not run"),
        ([condition("RL", "verdict", least=0.0)], "not run"),  # a word is no figure
        ([condition("RL", "margin", "SL", least=5.0)], "holds"),
        ([condition("RL", "clean", "SL", least=0.0)], "undecided"),
        ([condition("RL", "robust", least=0.18), condition("SL", "robust", least=0.0)], "not run"),
        ([condition("RL", "robust", least=0.3), condition("SL", "robust", least=0.0)], "does not hold"),
        ([], "not testable here"),
    ],
)
def test_a_claim_is_answered_by_the_intervals_of_its_cells(conditions: list[Any], said: str) -> None:
    cells = {(one["row"], one["column"]): one for one in made()["cells"]}
    assert answer({"conditions": conditions}, cells) == said


def test_a_difference_of_single_seeds_decides_nothing() -> None:
    cells = {("RL", "clean"): cell("RL", "clean", 0.9), ("SL", "clean"): cell("SL", "clean", 0.1)}
    assert answer({"conditions": [condition("RL", "clean", "SL", least=0.0)]}, cells) == "undecided"


def test_seeds_that_agree_leave_a_difference_what_the_cells_intervals_allow() -> None:
    cells = {
        ("RL", "clean"): cell("RL", "clean", 0.7, 0.7),
        ("SL", "clean"): cell("SL", "clean", 0.65, 0.65, interval=0.02),
    }
    found = difference(cells["RL", "clean"], cells["SL", "clean"])
    assert found == pytest.approx((0.05, 0.02, 0.08))
    cells["SL", "clean"] = cell("SL", "clean", 0.65, 0.65, interval=None)
    assert answer({"conditions": [condition("RL", "clean", "SL", least=0.0)]}, cells) == "undecided"


def test_a_figure_without_an_interval_decides_nothing() -> None:
    cells = {("RL", "margin"): cell("RL", "margin", 0.0, 0.0, interval=None)}
    claim = {"claim": "So.", "source": "us", "note": "", "conditions": [condition("RL", "margin", most=2.0)]}
    assert answer(claim, cells) == "undecided"
    record = made() | {"cells": [*cells.values()], "claims": [claim]}
    assert "RL, margin: 0 [unknown] (asked: at most 2)" in Book({"made-cpu": record}, "").ledger("made-cpu")


def test_the_ledger_shows_the_interval_that_it_judges_by() -> None:
    claim = {"claim": "So.", "source": "us", "note": "", "conditions": [condition("RL", "robust", least=0.2)]}
    text = Book({"made-cpu": made() | {"claims": [claim]}}, "").ledger("made-cpu")
    assert "**undecided** | RL, robust: 22.0 % [18.4, 25.9] (asked: at least 20.0 %)" in text


def test_a_drawing_says_what_its_intervals_are_over() -> None:
    record = made()
    table = record["tables"][0] | {"figure": {"x": "epoch", "log": False}, "rows": ["RL"]}
    table["columns"] = [column | {"at": "10"} for column in table["columns"] if column["id"] == "clean"]
    drawn = figure_of(record, table, "key")
    assert drawn is not None
    assert drawn.caption == "Mean over seeds 0, 1, 2, 95 % interval over seeds."
    for one in record["cells"]:
        one["interval"] = "images"
    drawn = figure_of(record, table, "key")
    assert drawn is not None
    assert drawn.caption == "Mean over seeds 0, 1, 2, 95 % interval over images."


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "made-cpu.json").write_text("{")
    with pytest.raises(ReinforcedError, match=r"made-cpu\.json: damaged"):
        read_records(tmp_path)
    (tmp_path / "made-cpu.json").write_text('{"schema": 99}')
    with pytest.raises(ReinforcedError, match="schema 99"):
        read_records(tmp_path)
