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
from reinforced.studies.reproduce.ledger import answer
from reinforced.studies.reproduce.page import bare_figures, render, write_page
from reinforced.studies.reproduce.records import SCHEMA, Record, read_records
from reinforced.studies.reproduce.words import cell_text
from tests.studies.made_cells import UNITS, cell, condition

DOCS = Path(__file__).parents[2] / "docs" / "results"
PAGE = '{{ cell("made-cpu", "RL", "robust") }}'


def made() -> Record:
    """A record by hand: RL was measured, SL has a cell that was not."""
    rows = [
        {"label": label, "seeds": [0, 1, 2], "chosen": None, "command": "train"} for label in ("SL", "RL")
    ]
    columns = [
        {"id": name, "title": name, "unit": unit, "command": "", "at": "", "definition": {}}
        for name, unit in UNITS.items()
    ]
    return {
        "schema": SCHEMA,
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
            cell("RL", "robust", 0.216, 0.22, 0.224),
            cell("RL", "verdict", "masked", "masked", "overstated"),
            cell("RL", "margin", 19.196, 19.2, 19.204),
        ],
        "published": [{"row": "RL", "column": "robust", "percent": 55.0, "source": "the paper"}],
        "claims": [],
    }


def test_the_committed_page_comes_from_the_committed_records() -> None:
    page, folder = DOCS / "study.md", DOCS / "study"
    assert write_page(DOCS / "study.md.j2", read_records(folder), page, folder) == page.read_text()


def test_the_readmes_figures_of_the_study_are_the_pages() -> None:
    readme = (DOCS.parents[1] / "README.md").read_text()
    own = re.search(r"^First answer,.*?\n## ", readme, re.MULTILINE | re.DOTALL)
    assert own is not None
    figures = re.findall(r"[-+]?[\d.]+ (?:%|points) \[[-\d., ]+\]", own.group().replace("\n", " "))
    page = (DOCS / "study.md").read_text()
    assert len(figures) == 9
    assert all(figure in page for figure in figures)


@pytest.mark.parametrize(
    ("few", "said"),
    [
        ((), "**Table 1. All**"),
        (("clean", "robust"), "**Table 1. All** On the first 8 test images."),
        (("robust",), "**Table 1. All** On the first 8 test images: robust."),
    ],
)
def test_a_table_says_which_columns_stand_on_few_images(few: tuple[str, ...], said: str) -> None:
    record = made()
    for column in record["tables"][0]["columns"]:
        if column["id"] in ("clean", "robust"):  # the others come from training, or from others
            images = record["few"] if column["id"] in few else record["images"]
            column |= {"command": "evaluate"}
            column["definition"] |= {"images": images}
    alone = " Over seeds alone are the intervals of: margin."
    assert Book({"made-cpu": record}, "study").table("made-cpu", "1").splitlines()[0] == said + alone


def test_a_table_says_which_columns_stand_on_fresh_images() -> None:
    record = made()
    for column in record["tables"][0]["columns"]:
        if column["id"] == "robust":
            column["definition"] |= {"fresh": True}
    head = Book({"made-cpu": record}, "study").table("made-cpu", "1").splitlines()[0]
    assert head.startswith("**Table 1. All** On the 500 test images that follow the first 500: robust.")


def test_a_difference_of_shares_is_in_points() -> None:
    lost = cell("RL", "clean", 0.02, 0.04) | {"least": -1.0}
    assert cell_text(lost) == "+3.0 points [2.0, 4.0]"
    assert cell_text(lost | {"least": 0.0}) == "3.0 % [2.0, 4.0]"
    record = made()
    record["cells"][4] |= {"least": -1.0, "mean": 0.03, "low": 0.02, "high": 0.04}
    record["claims"] = [
        {"claim": "Little is lost.", "source": "us", "given": [], "note": ""}
        | {"conditions": [condition("RL", "clean", most=0.05)]}
    ]
    assert "(asked: at most +5.0 points)" in Book({"made-cpu": record}, "study").ledger("made-cpu")


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


@pytest.mark.parametrize(
    ("other", "said"), [(0.5, "undefined (2 of 3)"), ("undefined", "undefined (3 of 3)")]
)
def test_a_figure_undefined_on_a_seed_says_on_how_many(other: float | str, said: str) -> None:
    undefined = cell("RL", "margin", other, "undefined", "undefined") | {"mean": None}
    assert cell_text(undefined) == said


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
        "CIFAR-10 and CIFAR-100 at L-inf 8/255, a ResNet-18 of L_16 under PGD-10",
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


def said_of(*conditions: dict[str, Any]) -> dict[str, Any]:
    return {"claim": "So.", "source": "us", "note": "", "given": [], "conditions": [*conditions]}


@pytest.mark.parametrize(
    ("conditions", "said"),
    [
        ([condition("RL", "robust", least=0.18)], "holds"),
        ([condition("RL", "robust", least=0.18, most=0.27)], "holds"),
        ([condition("RL", "robust", least=0.184, most=0.26)], "undecided"),  # either alone lies within
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
    assert answer({"given": [], "conditions": conditions}, cells) == said


@pytest.mark.parametrize(
    ("granted", "said"),
    [
        (condition("RL", "clean", "SL", least=-0.02, most=0.02), "holds"),
        (condition("RL", "clean", "SL", least=0.0), "not testable here"),  # of the mean, which is below
        (condition("RL", "clean", "SL", least=-0.0067), "holds"),  # whatever its interval
        (condition("SL", "robust", least=0.0), "not run"),
    ],
)
def test_what_a_claim_takes_for_granted_is_looked_for_in_the_means(
    granted: dict[str, Any], said: str
) -> None:
    cells = {(one["row"], one["column"]): one for one in made()["cells"]}
    claim = {"given": [granted], "conditions": [condition("RL", "robust", least=0.18)]}
    assert answer(claim, cells) == said


def test_one_of_many_conditions_is_refuted_less_easily() -> None:
    cells = {(one["row"], one["column"]): one for one in made()["cells"]}
    refuted = condition("RL", "robust", least=0.262)  # over images up to 0.259, at 99.5 % to 0.275
    held = [condition("RL", "robust", least=0.18)] * 9
    assert answer({"given": [], "conditions": [refuted]}, cells) == "does not hold"
    assert answer({"given": [], "conditions": [refuted, *held]}, cells) == "undecided"
    assert answer({"given": [], "conditions": [condition("RL", "robust", least=0.5), *held]}, cells) == (
        "does not hold"
    )


def test_a_claim_may_ask_of_new_seeds_alone() -> None:
    cells = {("RL", "clean"): cell("RL", "clean", 0.9, 0.9, 0.5, 0.51)}
    claim = condition("RL", "clean", least=0.6)
    assert answer({"given": [], "conditions": [claim]}, cells) == "undecided"
    assert answer({"given": [], "conditions": [claim | {"seeds": [2, 3]}]}, cells) == "does not hold"
    record = made() | {"claims": [said_of(condition("RL", "margin", "SL", least=5.0) | {"seeds": [0, 2]})]}
    assert "minus SL, seeds 0, 2 alone: +10" in Book({"made-cpu": record}, "").ledger("made-cpu")


def test_a_table_says_which_intervals_are_over_seeds_alone() -> None:
    record = made()
    said = []
    for row in (None, "SL", "RL"):
        for one in record["cells"]:
            if (one["row"], one["column"]) == (row, "margin"):
                for value in one["values"]:
                    value["error"] = 0.1
        head = Book({"made-cpu": record}, "").table("made-cpu", "1").splitlines()[0]
        said.append(head.removeprefix("**Table 1. All**"))
    whole = " Over seeds alone are the intervals of: margin."
    assert said == [whole, whole.replace("alone", "alone, in RL,"), ""]


def test_a_difference_of_single_seeds_decides_nothing() -> None:
    cells = {("RL", "clean"): cell("RL", "clean", 0.9), ("SL", "clean"): cell("SL", "clean", 0.1)}
    claim = {"given": [], "conditions": [condition("RL", "clean", "SL", least=0.0)]}
    assert answer(claim, cells) == "undecided"


def test_a_figure_without_an_interval_decides_nothing() -> None:
    cells = {("RL", "margin"): cell("RL", "margin", 0.0, 0.0, interval=None)}
    claim = said_of(condition("RL", "margin", most=2.0))
    assert answer(claim, cells) == "undecided"
    record = made() | {"cells": [*cells.values()], "claims": [claim]}
    assert "RL, margin: 0 [unknown] (asked: at most 2)" in Book({"made-cpu": record}, "").ledger("made-cpu")
    record["claims"] = [claim | {"given": claim["conditions"]}]
    assert "given RL, margin: 0 (asked: at most 2)" in Book({"made-cpu": record}, "").ledger("made-cpu")


def test_the_ledger_shows_the_interval_that_it_judges_by() -> None:
    claim = said_of(condition("RL", "robust", least=0.2)) | {"given": [condition("RL", "clean", least=0.5)]}
    text = Book({"made-cpu": made() | {"claims": [claim]}}, "").ledger("made-cpu")
    assert (
        "**undecided** | RL, robust: 22.0 % [18.3, 26.0] (asked: at least 20.0 %); given RL, clean: 70.3 % ["
        in text
    )


def test_a_drawing_says_what_its_intervals_are_over() -> None:
    record = made()
    table = record["tables"][0] | {"figure": {"x": "epoch", "log": False}, "rows": ["RL"]}
    table["columns"] = [column | {"at": "10"} for column in table["columns"] if column["id"] == "clean"]
    drawn = figure_of(record, table, "key")
    assert drawn is not None
    assert drawn.caption == "Mean over seeds 0, 1, 2; 95 % interval of seeds and images."


def test_a_damaged_record_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "made-cpu.json").write_text("{")
    with pytest.raises(ReinforcedError, match=r"made-cpu\.json: damaged"):
        read_records(tmp_path)
    (tmp_path / "made-cpu.json").write_text('{"schema": 99}')
    with pytest.raises(ReinforcedError, match=f"schema 99, this version reads {SCHEMA}; move it away"):
        read_records(tmp_path)
