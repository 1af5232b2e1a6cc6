"""What run_all.py makes of its benchmarks; their figures are measured elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import run_all

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
GIVEN = {"data": None, "robust": None, "run": None, "clock": "cpu", "scratch": "scratch"}
FINDS = """
import argparse
from common import bar, parse
parser = argparse.ArgumentParser()
parser.add_argument("--clock")
options = parse(parser)
print("| a table |")
bar("ratio", 1.5, ">=1.4", True, [1.3, 1.5, 1.6])
bar("extra", 2.0, "<1", False)
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A benchmark that finds something, one that fails, one that wants data."""
    (tmp_path / "finds.py").write_text(FINDS)
    (tmp_path / "fails.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(run_all, "HERE", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    return {
        name: {
            "about": "something",
            "command": command,
            "quick": command,
            "goals": {"ratio": ">=1.4", "rest": "<2"},
        }
        for name, command in (
            ("finds", "finds.py --clock {clock}"),
            ("fails", "fails.py"),
            ("wants", "finds.py --data {data}"),
        )
    }


def test_figures_stand_beside_goals_and_nothing_is_invented(suite: dict[str, Any]) -> None:
    outcomes = {name: run_all.run(entry["command"], GIVEN) for name, entry in suite.items()}
    assert [one.state for one in outcomes.values()] == [
        "run", "failed: it ended with 3", "not run: give --data",
    ]  # fmt: skip
    suite["finds"]["note"] = "1.5, by chance."
    text = run_all.page(suite, outcomes, quick=True)
    head, finds, fails, wants = text.split("\n## ")
    assert "1 of 6 goals kept, 0 not, 5 not run." in head
    assert "nothing more" in head
    assert "| ratio | 1.5 | 1.3 to 1.6 | >=1.4 | yes |" in finds
    assert "| rest | not run | | <2 | |" in finds
    assert "| extra | 2 |  | <1 | no |" in finds
    assert "| a table |" in finds
    assert "1.5, by chance." in finds
    assert "`python benchmarks/finds.py --clock cpu`" in finds
    assert "`python benchmarks/finds.py --data DATA`" in wants
    assert "**Failed: it ended with 3.**" in fails
    assert "| ratio | not run | | >=1.4 | |" in wants


def test_what_is_left_out_keeps_what_an_earlier_call_found(
    suite: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_all, "SUITE", tmp_path / "suite.yaml")
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))
    page = tmp_path / "page.md"

    def call(name: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run_all.py", "--only", name, "-o", str(page)])
        with pytest.raises(SystemExit) as ended:
            run_all.main()
        return int(str(ended.value))

    assert [call("finds"), call("fails")] == [0, 1]
    text = page.read_text()
    assert "| ratio | 1.5 | 1.3 to 1.6 | >=1.4 | yes |" in text
    assert "**Failed: it ended with 3.**" in text
    assert text.count("machine: ") == 2


def test_quick_figures_are_no_real_ones(
    suite: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_all, "SUITE", tmp_path / "suite.yaml")
    monkeypatch.setattr(run_all, "PAGE", tmp_path / "page.md")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(suite))

    def call(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["run_all.py", *words])
        with pytest.raises(SystemExit) as ended:
            run_all.main()
        return int(str(ended.value))

    assert call("--quick", "--only", "finds", "-o", "page.md") == 2
    assert "give another page" in capsys.readouterr().err
    assert call("--quick", "--only", "finds", "-o", "other.md") == 0
    assert "1 of 6 goals kept" in (tmp_path / "other.md").read_text()
    assert call("--only", "wants", "-o", "other.md") == 0
    assert "0 of 6 goals kept, 0 not, 6 not run." in (tmp_path / "other.md").read_text()


def test_a_goal_that_the_benchmark_was_not_held_to_is_said(suite: dict[str, Any]) -> None:
    found = {"name": "ratio", "figure": 3.0, "goal": ">=2", "kept": True}
    assert run_all.row("ratio", ">=1.4", found) == "| ratio | 3 |  | >=2 (suite: >=1.4) | yes |"


def test_every_benchmark_of_the_suite_is_there() -> None:
    entries = yaml.safe_load((BENCHMARKS / "suite.yaml").read_text(encoding="utf-8"))
    for name, entry in entries.items():
        for command in (entry["command"], entry["quick"]):
            assert (BENCHMARKS / command.split()[0]).is_file(), name
        assert entry["goals"], name
