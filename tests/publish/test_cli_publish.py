"""``reinforced export`` and ``leaderboard`` as a user types them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.typed import Typed

Evaluated = Callable[..., Path]


def test_export_then_evaluate_what_was_exported(typed: Typed, runs: Path, evaluated: Evaluated) -> None:
    evaluated()
    code, out, _ = typed("export runs/sl")
    assert code == 0
    assert (
        "exports/sl: config.json, recipe.yaml, environment.json, robustbench.json, model.safetensors" in out
    )
    code, out, _ = typed(
        "evaluate tiny --weights exports/sl/model.safetensors --normalize digits --source digits "
        "--threat linf:0.1 --attacks fgsm --images 8"
    )
    assert code == 0
    assert "8 images" in out


def test_a_leaderboard_in_every_format(typed: Typed, runs: Path, evaluated: Evaluated) -> None:
    evaluated(robust=0.25)
    code, out, _ = typed("leaderboard runs")
    assert code == 0
    assert "| 1 | sl | 90.0% | 25.0% | 25.0% |" in out
    code, out, _ = typed("leaderboard runs -o board.md -o board.html -o sub/board.csv")
    assert code == 0
    assert out.split() == ["board.md", "board.html", "sub/board.csv"]
    assert all((runs.parent / name).is_file() for name in out.split())


def test_a_moved_run_is_verified_and_the_leaderboard_says_so(typed: Typed, runs: Path) -> None:
    assert typed("evaluate runs/sl --threat digits --attacks fgsm --images 20")[0] == 0
    (runs / "sl").rename(runs / "moved")
    assert "| not re-verified | fgsm |" in typed("leaderboard runs")[1]
    code, out, _ = typed("verify runs/moved/evaluations/linf-0.15/fgsm-20")
    assert code == 0
    assert "all" in out
    code, out, _ = typed("leaderboard runs")
    assert code == 0
    assert "| yes | fgsm | unranked; without AutoAttack |" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("export nowhere", "no run directory"),
        ("export runs", "no run directory"),
        ("export runs/sl", "were never evaluated"),
        ("export runs/sl --checkpoint 7", "no weights 7"),
        ("export runs/sl --out runs/sl", "something other than an export"),
        ("export runs/sl --push name", "write ORG/NAME"),
        ("leaderboard nowhere", "no folder nowhere"),
        ("leaderboard empty", "no runs in empty"),
        ("leaderboard runs", "no run in runs was evaluated"),
        ("leaderboard runs -o board.htm", "did you mean '.html'"),
        ("leaderboard runs -o board", "known: .csv, .html, .md"),
        ("serve nowhere", "no folder nowhere"),
        ("serve empty", "no runs in empty"),
        ("serve runs --port 70000", "--port"),
        ("serve runs --host 256.0.0.1", "--host is an address of this machine"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, typed: Typed, runs: Path) -> None:
    (runs.parent / "empty").mkdir()
    before = sorted(runs.rglob("*"))
    code, _, err = typed(line)
    assert code == 2
    assert len(err.strip().splitlines()) == 1
    assert err.startswith("error: ")
    assert said in err
    assert sorted(runs.rglob("*")) == before
