"""What the live page is told of a folder that changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reinforced.report import live
from reinforced.report.folder import find_runs
from reinforced.report.live import LiveFolder
from reinforced.report.tail import Tail


@pytest.fixture(autouse=True)
def _always_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "FRESH", 0.0)


def make(folder: Path, name: str, recipe: str = "name: r\nphases: [{epochs: 2}, {epochs: 3}]\n") -> Path:
    run = folder / name
    run.mkdir(parents=True)
    (run / "recipe.yaml").write_text(recipe)
    return run


def test_a_line_counts_once_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    tail = Tail(tmp_path, file)
    tail.look()
    assert (tail.rows, tail.first) == ([], "")
    for written, epochs in (('{"epoch": 1}\n{"epo', [1]), ('ch": 2}', [1]), ("\n", [1, 2]), ("", [1, 2])):
        with file.open("a") as handle:
            handle.write(written)
        tail.look()
        assert [row["epoch"] for row in tail.rows] == epochs
    assert tail.damaged == 0


def test_a_replaced_or_cut_file_is_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"epoch": 1}\n{"epoch": 2}\n')
    tail = Tail(tmp_path, file)
    tail.look()
    first = tail.first
    (tmp_path / "new").write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n')
    (tmp_path / "new").replace(file)
    tail.look()
    assert ([row["epoch"] for row in tail.rows], tail.first) == ([1, 2, 3], first)
    file.write_text('{"epoch": 9}\n')
    tail.look()
    assert [row["epoch"] for row in tail.rows] == [9]
    assert tail.first != first
    file.unlink()
    tail.look()
    assert tail.rows == []


def test_what_json_has_no_number_for_is_none(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"loss": NaN, "lr": -Infinity, "flops": 1e999}\nno json\n[1]\n\xff\n')
    tail = Tail(tmp_path, file)
    tail.look()
    assert tail.rows == [{"loss": None, "lr": None, "flops": None}]
    assert tail.damaged == 3


def test_only_what_was_not_sent_is_sent(tmp_path: Path) -> None:
    run = make(tmp_path, "one")
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
    folder = LiveFolder(tmp_path)
    first = folder.rows("one", "", 0)
    assert first is not None
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 3}\n')
    assert folder.rows("one", first["start"], 2) == {**first, "after": 2, "rows": [{"epoch": 3}]}
    again = folder.rows("one", "another run's", 2)
    assert again is not None
    assert (again["after"], len(again["rows"])) == (0, 3)
    assert folder.rows("two", "", 0) is None


def test_states_and_colours(tmp_path: Path) -> None:
    for seed in (0, 1):
        make(tmp_path, f"seed{seed}", f"name: r\nseed: {seed}\nphases: [{{epochs: 2}}]\n")
    other = make(tmp_path, "z", "name: other\nlr: 1\nbudget: {passes: 5}\n")
    (tmp_path / "seed1" / "summary.json").write_text('{"stopped_early": true}')
    (other / "summary.json").write_text("{}")
    zero, one, last = LiveFolder(tmp_path).overview()
    assert [zero["state"], one["state"], last["state"]] == ["unfinished", "stopped early", "finished"]
    assert zero["colour"] == one["colour"] != last["colour"]
    assert (zero["planned"], last["planned"]) == (2, None)


def test_damaged_runs_hide_no_others(tmp_path: Path) -> None:
    make(tmp_path, "binary", "\x00")
    make(tmp_path, "list", "- 1\n")
    run = make(tmp_path, "sound")
    (tmp_path / "list" / "summary.json").write_text("[")
    (run / "metrics.jsonl").write_bytes(b"\xff\xfe\n" + b'{"epoch": 1}\n')
    seen = {one["name"]: one for one in LiveFolder(tmp_path).overview()}
    assert sorted(seen) == ["binary", "list", "sound"]
    assert (seen["sound"]["epochs"], seen["sound"]["damaged"], seen["sound"]["planned"]) == (1, 1, 5)
    json.dumps(list(seen.values()), allow_nan=False)


def test_runs_come_and_go(tmp_path: Path) -> None:
    folder = LiveFolder(tmp_path)
    assert folder.overview() == []
    run = make(tmp_path, "group/<b>&one")
    assert [one["name"] for one in folder.overview()] == ["group/<b>&one"]
    (run / "report.html").write_text("page")
    assert folder.overview()[0]["report"]
    assert folder.report("group/<b>&one") == b"page"
    (run / "recipe.yaml").unlink()
    assert folder.overview() == []


def test_controls_inside_runs_links_and_hidden_folders_are_no_runs(tmp_path: Path) -> None:
    one = make(tmp_path, "a/one")
    make(one, "diagnostics/control")
    make(tmp_path, ".trash/old")
    make(tmp_path, "far/too/deep/run")
    (tmp_path / "link").symlink_to(one)
    assert find_runs(tmp_path) == [one]
    assert find_runs(one) == [one]
