"""What is ranked, what is only shown, and that hostile names stay text."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from reinforced.publish.board_files import render
from reinforced.publish.leaderboard import Row, leaderboard

Evaluated = Callable[..., Path]


def ranks(rows: tuple[Row, ...]) -> list[tuple[int | None, str]]:
    return [(row.rank, row.model) for row in rows]


def test_the_most_robust_is_first_and_equals_share_a_rank(runs: Path, evaluated: Evaluated) -> None:
    for name, robust, weights in (("c", 0.2, "1"), ("a", 0.6, "2"), ("b", 0.6, "3"), ("group/d", 0.1, "4")):
        evaluated(name, robust=robust, sha256=weights)
    board = leaderboard(runs)
    (table,) = board.tables
    assert table.title == "digits, linf:0.15, 100 images"
    assert ranks(table.rows) == [(1, "a"), (1, "b"), (3, "c"), (4, "group/d")]
    assert board.without == ("sl",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"incomplete": True}, "INCOMPLETE"),
        ({"autoattack_accuracy": None}, "without AutoAttack"),
        ({"check": False}, "do not hold"),
        ({"robust_accuracy": None}, "damaged"),
        ({"control": {"robust_accuracy": 0.8, "broken": False}}, "proves nothing"),
    ],
)
def test_figures_in_doubt_are_shown_and_never_ranked(
    change: dict[str, Any], said: str, runs: Path, evaluated: Evaluated
) -> None:
    evaluated("sound", robust=0.1, sha256="1")
    evaluated("doubtful", robust=0.9, sha256="2", **change)
    (table,) = leaderboard(runs).tables
    assert ranks(table.rows) == [(1, "sound"), (None, "doubtful")]
    assert said in table.rows[1].notes


def test_what_ran_as_released_is_marked_and_never_ranked(runs: Path, evaluated: Evaluated) -> None:
    mark = "as released, unclipped: not in the worst case"
    claim = {"name": "pgd-as-released", "mark": mark, "accuracy": 0.8, "interval": [0.7, 0.9]}
    evaluated(robust=0.2, as_released=[claim])
    (table,) = leaderboard(runs).tables
    first, second = table.rows
    assert (first.rank, first.robust) == (1, 0.2)
    assert (second.rank, second.robust, second.attacks) == (None, 0.8, "pgd-as-released")
    assert mark in second.notes
    assert math.isnan(second.autoattack)


def test_ranks_compare_only_what_is_comparable(runs: Path, evaluated: Evaluated) -> None:
    evaluated("a", sha256="1", robust=0.5)
    evaluated("b", sha256="2", robust=0.4, images=200)
    evaluated("c", sha256="3", robust=0.3, threat="l2:1")
    evaluated("d", sha256="4", robust=0.2, setup={"model_sha256": "4", "data_sha256": "d2"})
    other = evaluated("e", sha256="5", robust=0.1)
    (other / "subject.json").write_text(json.dumps({"data": "npz:/secret/place/mine.npz"}))
    tables = leaderboard(runs).tables
    assert len(tables) == 5
    assert all(ranks(table.rows)[0][0] == 1 and len(table.rows) == 1 for table in tables)
    assert "npz:mine.npz" in {table.data for table in tables}  # and not where it lies


def test_of_the_same_weights_the_evaluation_that_leaves_least_is_ranked(
    runs: Path, evaluated: Evaluated
) -> None:
    evaluated(robust=0.5, folder="weak")
    evaluated(robust=0.3, folder="strong")
    evaluated("other", robust=0.4, sha256="other")
    (table,) = leaderboard(runs).tables
    assert [(row.rank, row.model, row.robust) for row in table.rows] == [
        (1, "other", 0.4),
        (2, "sl", 0.3),
        (None, "sl", 0.5),
    ]
    assert "ranked by another evaluation" in table.rows[2].notes


def test_only_a_check_of_these_outcomes_counts(runs: Path, evaluated: Evaluated) -> None:
    place = evaluated(check=True)
    (table,) = leaderboard(runs).tables
    assert table.rows[0].verified == "yes"
    record = json.loads((place / "evaluation.json").read_text())
    (place / "evaluation.json").write_text(json.dumps({**record, "matrix_sha256": "m2"}))
    (table,) = leaderboard(runs).tables
    assert (table.rows[0].verified, table.rows[0].rank) == ("not re-verified", 1)


def test_verdicts_are_those_on_these_weights(
    runs: Path, evaluated: Evaluated, judged: Callable[..., None]
) -> None:
    evaluated()
    judged("pgd@l2:1", "masked")
    (table,) = leaderboard(runs).tables
    assert table.rows[0].verdict == "masked (pgd@l2:1)"
    (runs / "sl" / "diagnostics" / "one" / "setup.json").write_text('{"model_sha256": "of others"}')
    (table,) = leaderboard(runs).tables
    assert table.rows[0].verdict == ""


def test_csv_has_the_figures_themselves(runs: Path, evaluated: Evaluated) -> None:
    evaluated(robust=1 / 3, autoattack_accuracy=None)
    (row,) = csv.DictReader(io.StringIO(render(leaderboard(runs), ".csv")))
    assert float(row["worst_case"]) == 1 / 3
    assert (row["autoattack"], row["rank"], row["recipe"]) == ("", "", "quickstart/sl")


class Texts(HTMLParser):
    """The tags of a page, and its text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_hostile_names_are_text(runs: Path, evaluated: Evaluated) -> None:
    hostile = "<script>alert(1)<|script> | [x](javascript:1) `é"
    evaluated(hostile)
    recipe = runs / hostile / "recipe.yaml"
    values = yaml.safe_load(recipe.read_text())
    values["data"]["source"] = "<img src=x onerror=alert(1)>"
    recipe.write_text(yaml.safe_dump(values))
    board = leaderboard(runs)
    page = Texts()
    page.feed(render(board, ".html"))
    assert not page.tags & {"script", "img", "a"}
    assert hostile in page.text
    markdown = render(board, ".md")
    (line,) = (line for line in markdown.splitlines() if "alert(1)" in line and line.startswith("|"))
    assert "\\<script\\>" in line
    assert line.replace("\\|", "").count("|") == 11  # ten cells still
    assert "<img" not in markdown.replace("\\<", "")


def test_later_images_have_a_table_of_their_own(runs: Path, evaluated: Evaluated) -> None:
    evaluated(robust=0.5)
    later = evaluated(robust=0.1, folder="later")
    (later / "subject.json").write_text(json.dumps({"checkpoint": "last", "data": None, "skip": 100}))
    tables = leaderboard(runs).tables
    assert [(table.title, ranks(table.rows)) for table in tables] == [
        ("digits, linf:0.15, 100 images", [(1, "sl")]),
        ("digits, linf:0.15, 100 images after the first 100", [(1, "sl")]),
    ]
