from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

from reinforced import cli
from reinforced.errors import Interrupted, InUse, ReinforcedError
from reinforced.files import locked
from reinforced.studies.sweep.child import Child
from reinforced.studies.sweep.cost import estimate
from reinforced.studies.sweep.job import Job, work
from reinforced.studies.sweep.pools import Ended, Pool, RayPool
from reinforced.studies.sweep.records import error_of, to_do
from reinforced.studies.sweep.shares import Share
from reinforced.studies.sweep.study import Entry, Study, check_runs, entries_of, load_study
from reinforced.studies.sweep.sweep import TABLE, Place, Sweep
from reinforced.studies.sweep.table import identity, row_of
from reinforced.training.adversaries import Trainee
from reinforced.training.checkpoint import load_checkpoint, save_checkpoint
from reinforced.training.recipe import Published

STUDY = {
    "schema": 1,
    "name": "small",
    "seeds": [0, 1],
    "overrides": {"phases.0.epochs": 1, "data.limit": 200},
    "grid": {"recipes": ["quickstart/sl"]},
    "evaluate": {"threats": ["digits"], "attacks": ["fgsm"], "images": 70},
}


class Here:
    """Attempts in this very process; ``faults`` maps the number of an attempt to what it does instead."""

    def __init__(self, faults: dict[int, Callable[[], str | None]] | None = None) -> None:
        self.faults = faults or {}
        self.started: list[str] = []
        self.stopped = False
        self._job: tuple[str, Job] | None = None

    def free(self) -> bool:
        return self._job is None

    def start(self, name: str, job: Job, log: Path) -> None:
        self.started.append(name)
        self._job = name, job

    def ended(self) -> list[Ended]:
        assert self._job is not None
        (name, job), self._job = self._job, None
        fault = self.faults.get(len(self.started))
        if fault is not None:
            return [Ended(name, fault())]
        work(job)
        return [Ended(name, None)]

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self._job = None


def small(folder: Path, **values: Any) -> Sweep:
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(STUDY | values))
    study = load_study(file)
    place = Place(folder / "out", "cpu", None, "reinforced sweep small.yaml")
    return Sweep(study, entries_of(study, folder, place.folder), place, lambda states: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep whose second attempt had failed."""
    folder = tmp_path_factory.mktemp("sweep")
    pool = Here({2: lambda: "the worker was killed by SIGKILL"})
    rows = small(folder).run(pool)
    assert pool.started == ["quickstart-sl-seed0", "quickstart-sl-seed1", "quickstart-sl-seed1"]
    assert [row["state"] for row in rows] == ["finished", "finished"]
    return folder


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


def test_a_longer_study_does_what_is_new(finished: Path) -> None:
    pool = Here({1: lambda: None})
    sweep = small(finished, seeds=[0, 1, 2], retries=0)
    rows = sweep.run(pool)
    assert pool.started == ["quickstart-sl-seed2"]
    assert [row["state"] for row in rows] == ["finished", "finished", "failed"]
    assert rows[2]["error"] == "ended without a record of train"


def test_other_settings_are_refused_before_anything_is_done(finished: Path) -> None:
    pool = Here()
    with pytest.raises(ReinforcedError, match="another recipe"):
        small(finished, overrides={"phases.0.epochs": 2}).run(pool)
    assert pool.started == []


def one(folder: Path, **values: Any) -> tuple[Study, Entry]:
    sweep = small(folder, **values)
    return sweep.study, sweep.entries[0]


@pytest.mark.parametrize(
    ("evaluate", "left"),
    [
        ({}, []),
        ({"images": 60}, ["evaluate linf:0.15"]),
        ({"seed": 1}, ["evaluate linf:0.15"]),
        ({"run_all": True}, ["evaluate linf:0.15"]),
        ({"attacks": ["fgsm", "pgd"]}, ["evaluate linf:0.15"]),
        ({"threats": ["digits", "l2:0.5"]}, ["evaluate l2:0.5"]),
    ],
)
def test_an_evaluation_counts_only_where_it_is_the_one_asked_for(
    evaluate: dict[str, Any], left: list[str], finished: Path
) -> None:
    study, entry = one(finished, evaluate={**STUDY["evaluate"], **evaluate})  # type: ignore[dict-item]
    assert to_do(study, entry) == left


def test_a_diagnosis_and_other_weights_are_to_do(finished: Path) -> None:
    study, entry = one(finished, diagnose={"claim": "fgsm@linf:0.15"})
    assert to_do(study, entry) == ["diagnose"]
    study, entry = one(finished, checkpoint="best")
    assert to_do(study, entry) == ["evaluate linf:0.15"]


@pytest.mark.parametrize("damage", ["delete", "truncate", "incomplete"])
def test_records_and_no_flag_say_what_is_finished(damage: str, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "out", tmp_path / "out")
    study, entry = one(tmp_path)
    (file,) = entry.run.glob("evaluations/*/*/evaluation.json")
    text = file.read_text()
    if damage == "delete":
        file.unlink()
    else:
        file.write_text(
            text[:100] if damage == "truncate" else text.replace('"incomplete": false', '"incomplete": true')
        )
    assert to_do(study, entry) == ["evaluate linf:0.15"]
    pool = Here()
    before = pq.read_table(finished / "out" / TABLE).to_pylist()
    assert identity(small(tmp_path).run(pool)) == identity(before)[:2]
    assert pool.started == [entry.name]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished sweep, to be damaged."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path


def only(run: Path, pattern: str) -> Path:
    """The one file of a run that a pattern finds."""
    (file,) = run.glob(pattern)
    return file


def mended(folder: Path, before: Path) -> list[str]:
    """Run the sweep again: what was attempted, once its table is as it was before the damage."""
    pool = Here()
    rows = small(folder, retries=0).run(pool)
    assert identity(rows) == identity(pq.read_table(before / "out" / TABLE).to_pylist())[:2]
    return pool.started


@pytest.mark.parametrize(
    ("written", "damaged"),
    [
        ('"interval"', '"jnterval"'),
        ('"interval": [\n    0.', '"interval": [\n    0.0'),
        ('"forwards": ', '"forwards": -'),
        ('"gradients": ', '"gradients": 1'),
        ('"seconds": ', '"recondr": '),
        ('"robust_accuracy": 0.', '"robust_accuracy": 0.9'),
        ('"clean_accuracy": ', '"clean_accuracy": 1'),
        ('"matrix_sha256": "', '"matrix_sha256": "0'),
        ('"setup"', '"setuq"'),
    ],
)
def test_a_damaged_evaluation_counts_as_missing(
    written: str, damaged: str, finished: Path, copied: Path
) -> None:
    study, entry = one(copied)
    file = only(entry.run, "evaluations/*/*/evaluation.json")
    assert written in file.read_text()
    file.write_text(file.read_text().replace(written, damaged, 1))
    assert to_do(study, entry) == ["evaluate linf:0.15"]
    assert row_of(study, entry, copied / "out")["linf:0.15 robust"] is None
    assert mended(copied, finished) == [entry.name]


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("summary.json", ["train", "evaluate linf:0.15"]),
        ("evaluations/*/*/*/chunk-0001.npz", ["evaluate linf:0.15"]),
        ("evaluations/*/*/setup.json", ["evaluate linf:0.15"]),
    ],
)
def test_what_is_damaged_is_set_aside_and_made_again(
    pattern: str, left: list[str], finished: Path, copied: Path
) -> None:
    study, entry = one(copied)
    file = only(entry.run, pattern)
    file.write_bytes(file.read_bytes()[:40])
    if file.name != "summary.json":
        only(entry.run, "evaluations/*/*/evaluation.json").unlink()
    assert to_do(study, entry) == left
    assert mended(copied, finished) == [entry.name]
    assert [path.name for path in entry.run.glob("damaged/**/*") if path.name == file.name] == [file.name]


def test_an_evaluation_of_other_weights_or_images_does_not_count(copied: Path) -> None:
    study, entry = one(copied)
    subject = only(entry.run, "evaluations/*/*/subject.json")
    text = subject.read_text()
    subject.write_text(text.replace('"data": null', '"data": "npz:other.npz"'))
    assert to_do(study, entry) == ["evaluate linf:0.15"]
    subject.write_text(text)
    assert to_do(study, entry) == []
    file = entry.run / "checkpoints" / "last.safetensors"
    tensors, values = load_checkpoint(file)
    save_checkpoint(file, {name: tensor + 1 for name, tensor in tensors.items()}, values)
    assert to_do(study, entry) == ["evaluate linf:0.15"]
    pool = Here({1: lambda: "holds another evaluation"})
    rows = small(copied, retries=0).run(pool)
    assert [row["state"] for row in rows] == ["failed", "finished"]


def test_an_attempt_that_failed_is_no_success_whatever_the_records_say(copied: Path) -> None:
    _, entry = one(copied)
    (entry.run / "summary.json").rename(copied / "summary.json")

    def fail() -> str:
        (copied / "summary.json").rename(entry.run / "summary.json")
        return "the last step failed"

    rows = small(copied, retries=0).run(Here({1: fail}))
    assert (rows[0]["state"], rows[0]["error"]) == ("failed", "the last step failed")

    def stop() -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        return "it was stopped"

    stopped = Here({1: stop})
    with pytest.raises(Interrupted, match="1 of 2"):
        small(copied, retries=1).run(stopped)
    assert stopped.started == [entry.name]
    assert error_of(copied / "out", entry) == "the last step failed"  # until it succeeds
    assert [row["state"] for row in small(copied).run(Here())] == ["finished", "finished"]
    assert error_of(copied / "out", entry) == ""


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


def typed(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["reinforced", *shlex.split(line)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    out, err = capsys.readouterr()
    return int(done.value.code or 0), out, err


def test_a_dry_run_estimates_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, _ = typed("sweep small.yaml --dry-run --device cpu", monkeypatch, capsys)
    assert code == 0
    assert "quickstart-sl-seed1" in out
    assert "estimate: " in out
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_what_is_finished_is_neither_loaded_nor_timed(
    finished: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(finished)
    monkeypatch.chdir(finished)
    monkeypatch.setattr("reinforced.studies.sweep.cost.load", None)
    code, out, err = typed("sweep small.yaml --out out --dry-run --device cpu", monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "2 entries, 0 of them not finished" in out


def test_steps_are_timed_as_training_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: dict[str, bool] = {}

    class Seen(Trainee):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            weights = [one for one in self.network.parameters() if one.dim() == 4]
            last = torch.channels_last
            laid_out = all(one.is_contiguous(memory_format=last) for one in (images, *weights))
            timed[self.precision] = timed.get(self.precision, True) and laid_out and self.network.training
            return super().forward(images)

    monkeypatch.setattr("reinforced.studies.sweep.cost.Trainee", Seen)
    sweep = small(tmp_path, seeds=[0], overrides={"precision": "bf16", "phases.0.epochs": 1})
    device = torch.device("cpu")
    (found,) = estimate(sweep.study, sweep.entries, device=device, threads=1, root=None)
    assert timed == {"bf16": True, "float32": True}
    assert found.seconds == found.training / found.speed + found.evaluation / found.attack_speed


def test_going_on_is_the_command_that_was_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path).place.folder.parent.joinpath("small.yaml").rename(tmp_path / "my study.yaml")
    monkeypatch.chdir(tmp_path)

    def stop(self: Sweep, pool: Pool) -> None:
        raise ReinforcedError(self.place.again)

    monkeypatch.setattr(Sweep, "run", stop)
    line = "reinforced sweep 'my study.yaml' --out o --workers 1 --data 'a b' --device cpu"
    code, _, err = typed(line.removeprefix("reinforced "), monkeypatch, capsys)
    assert (code, err) == (2, f"error: {line}\n")


def test_mistakes_cost_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(tmp_path, overrides={"batch_size": 5000})
    monkeypatch.chdir(tmp_path)
    for line, said in (
        ("sweep none.yaml", "no study file none.yaml"),
        ("sweep small.yaml --device cuda:1", "divides the GPUs itself"),
        ("sweep small.yaml --device cpu", "entry quickstart-sl-seed0: batch_size 5000 is larger"),
    ):
        code, _, err = typed(line, monkeypatch, capsys)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
