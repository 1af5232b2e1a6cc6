"""Attempts of a sweep: done once, counted, stopped, and failing alone."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from reinforced.errors import Interrupted, InUse, ReinforcedError
from reinforced.files import locked
from reinforced.studies.sweep.child import Child
from reinforced.studies.sweep.pools import RayPool
from reinforced.studies.sweep.shares import Share
from reinforced.studies.sweep.study import check_runs
from reinforced.studies.sweep.sweep import TABLE
from reinforced.training.recipe import Published
from tests.studies.sweeping import Here, one, small


def test_the_table_is_what_the_records_say(finished: Path) -> None:
    rows = pq.read_table(finished / "out" / TABLE).to_pylist()
    for row in rows:
        run = finished / "out" / "runs" / row["entry"]
        summary = json.loads((run / "summary.json").read_text())
        (file,) = run.glob("evaluations/*/*/evaluation.json")
        record = json.loads(file.read_text())
        assert row["test_accuracy"] == summary["test_accuracy"]
        assert row["passes"] == summary["passes"]
        assert row["linf:0.15 robust"] == record["robust_accuracy"]
        assert [row["linf:0.15 low"], row["linf:0.15 high"]] == record["interval"]
        assert row["linf:0.15 matrix_sha256"] == record["matrix_sha256"]
        assert row["error"] is None
    assert [row["seed"] for row in rows] == [0, 1]


def test_what_is_finished_is_not_done_again(finished: Path) -> None:
    pool = Here()
    rows = small(finished).run(pool)
    assert pool.started == []
    assert rows == pq.read_table(finished / "out" / TABLE).to_pylist()


def test_a_longer_study_does_what_is_new(copied: Path) -> None:
    pool = Here({1: lambda: None})
    sweep = small(copied, seeds=[0, 1, 2], retries=0)
    rows = sweep.run(pool)
    assert pool.started == ["quickstart-sl-seed2"]
    assert [row["state"] for row in rows] == ["finished", "finished", "failed"]
    assert rows[2]["error"] == "ended without a record of train"


def test_other_settings_are_refused_before_anything_is_done(finished: Path) -> None:
    pool = Here()
    with pytest.raises(ReinforcedError, match="another recipe"):
        small(finished, overrides={"phases.0.epochs": 2}).run(pool)
    assert pool.started == []


def test_published_figures_make_no_other_run(finished: Path) -> None:
    _, entry = one(finished)
    published = Published.model_validate({"metric": "clean", "percent": 97.5, "source": "a paper"})
    check_runs([replace(entry, recipe=entry.recipe.model_copy(update={"published": (published,)}))])


def test_a_table_that_cannot_be_written_lets_the_workers_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object) -> None:
        raise ReinforcedError("disk full")

    pool = Here({1: lambda: monkeypatch.setattr("reinforced.studies.sweep.sweep.write_table", full)})
    with pytest.raises(ReinforcedError, match="disk full"):
        small(tmp_path).run(pool)
    assert pool.stopped


def test_a_failed_entry_is_reported_and_costs_no_other(tmp_path: Path) -> None:
    pool = Here({1: lambda: "two\nlines", 3: lambda: "again"})
    sweep = small(tmp_path)
    rows = sweep.run(pool)
    assert pool.started == ["quickstart-sl-seed0", "quickstart-sl-seed1", "quickstart-sl-seed0"]
    assert [(row["state"], row["error"]) for row in rows] == [("failed", "again"), ("finished", None)]
    assert [row["state"] for row in small(tmp_path).run(Here())] == ["finished", "finished"]


def test_a_signal_stops_the_workers_and_says_how_to_go_on(tmp_path: Path) -> None:
    pool = Here({1: lambda: os.kill(os.getpid(), signal.SIGTERM)})
    with pytest.raises(Interrupted, match=r"0 of 2 .*`reinforced sweep small.yaml`") as stopped:
        small(tmp_path).run(pool)
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert pool.stopped
    assert pool.started == ["quickstart-sl-seed0"]
    rows = pq.read_table(tmp_path / "out" / TABLE).to_pylist()
    assert [row["state"] for row in rows] == ["to do: train, evaluate linf:0.15"] * 2


def test_a_sweep_in_use_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path / "out" / "sweep.lock", "--out"), pytest.raises(InUse, match="choose another --out"):
        small(tmp_path).run(Here())


def test_a_worker_dies_with_its_starter(tmp_path: Path) -> None:
    sweep = small(tmp_path, overrides={"phases.0.epochs": 100_000})
    child = Child(sweep._job(sweep.entries[0]), tmp_path / "log", 1, "")
    while not (sweep.entries[0].run / "metrics.jsonl").is_file():
        assert not child.ended(), (tmp_path / "log").read_text()
    assert child.process.stdin is not None
    child.process.stdin.close()  # as the system does for a starter that is killed
    assert child.process.wait(timeout=60) == -signal.SIGKILL
    assert child.error() == "the worker was killed by SIGKILL"


def test_a_job_knows_the_starters_data_and_says_which_folder_a_node_lacks(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REINFORCED_DATA", str(tmp_path / "sets"))
    sweep = small(tmp_path)
    job = sweep._job(sweep.entries[0])
    assert (job.data, job.data_given) == (tmp_path / "sets", False)
    for subject in finished.glob("out/runs/*/evaluations/*/*/subject.json"):
        assert json.loads(subject.read_text())["root"] is None  # only a folder that was named is remembered
    child = Child(job.model_copy(update={"cwd": tmp_path / "nowhere"}), tmp_path / "log", 1, "")
    child.close(grace=240)
    error = child.error()
    assert error is not None
    assert "nowhere (No such file or directory); start the command in a folder that all nodes have" in error
    assert "\n" not in error


def test_no_more_tasks_are_started_on_a_cluster_than_there_is_room_for(tmp_path: Path) -> None:
    started: list[object] = []
    task = SimpleNamespace(remote=lambda *given: started.append(given) or len(started))  # type: ignore[func-returns-value]
    ray = SimpleNamespace(remote=lambda **options: lambda function: task)
    sweep, pool = small(tmp_path), RayPool(ray, Share(2, 1, 0))
    while pool.free():
        pool.start("one", sweep._job(sweep.entries[0]), tmp_path / "log")
    assert len(started) == 2


def test_a_worker_says_what_is_wrong_in_one_line(tmp_path: Path) -> None:
    sweep = small(tmp_path, overrides={"data.source": "npz:nowhere.npz"})
    child = Child(sweep._job(sweep.entries[0]), tmp_path / "log", 1, "")
    child.process.wait(timeout=120)
    error = child.error()
    child.close()
    assert error is not None
    assert "nowhere.npz" in error
    assert "\n" not in error
