"""`reinforced reproduce` as a user types it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.studies.tiny_study import TINY
from tests.typed import Typed, TypedIn


@pytest.fixture
def typed(tmp_path: Path, typed_at: TypedIn) -> Typed:
    return typed_at(tmp_path)


def test_dry_run_prints_what_is_left_and_trains_nothing(typed: Typed, tmp_path: Path) -> None:
    code, out, _ = typed(f"reproduce {shlex.quote(str(TINY))} --dry-run --table 9.3")
    assert code == 0
    assert "table 9.3: fast, seed 0: train" in out
    assert "0 of 7" in out  # of SL, the control, the seed of the judged row alone
    assert re.search(r"estimate: [1-9][0-9,]* passes, [0-9.]+ hours on one process", out)
    assert not (tmp_path / "runs").exists()


def test_the_command_writes_record_and_page(typed_at: TypedIn, done: Path) -> None:
    typed = typed_at(done)
    code, out, _ = typed(f"reproduce {shlex.quote(str(TINY))} --records typed")
    assert code == 0
    assert "kept in typed/tiny_study-cpu.json" in out
    (done / "typed.md.j2").write_text('SL: {{ cell("tiny_study-cpu", "SL", "clean") }}\n')
    code, out, _ = typed("reproduce page --records typed")
    assert code == 0
    assert (done / "typed.md").read_text().startswith("SL: ")
    assert (done / "typed" / "tiny_study-cpu-9.1.svg").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("gupta", "no study 'gupta'; did you mean 'gupta2020'?"),
        ("none.yaml", "no study file none.yaml"),
        ("gupta2020 --size cpus", "study gupta2020 has no size 'cpus'; did you mean 'cpu'?"),
        ("gupta2020 --table 3.1 3.9", "study gupta2020 has no table '3.9'; did you mean '3.4'?"),
        ("gupta2020 -o page.md", "--out is of `reinforced reproduce page`"),
        ("page --records none", "no template none.md.j2"),
        ("page --records study.json", "--records study.json: give the folder"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(typed: Typed, line: str, said: str) -> None:
    code, _, err = typed(f"reproduce {line}")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
