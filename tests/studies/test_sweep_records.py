"""Which records of a sweep count, and what is done about those that do not."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reinforced.errors import Interrupted
from reinforced.studies.sweep.records import error_of, to_do
from reinforced.studies.sweep.sweep import TABLE
from reinforced.studies.sweep.table import identity, row_of
from reinforced.training.checkpoint import load_checkpoint, save_checkpoint
from tests.studies.sweeping import STUDY, Here, one, small


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
