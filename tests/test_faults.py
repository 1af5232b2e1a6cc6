"""What ``benchmarks/faults.py`` has found, and a little of its fuzzing."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from reinforced.cli import main
from reinforced.errors import ReinforcedError
from reinforced.evaluation.chunks import Part, digest, read_part, write_part
from reinforced.files import locked, write_text
from reinforced.report.records import read_runs
from reinforced.studies.evaluations import verify_folder
from reinforced.studies.trained import read_run
from reinforced.training.checkpoint import weights_hash
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.run import RunDirectory, load_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
FEW = ["data.limit=128", "phases.0.epochs=1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("faults") / "run"
    train(load_recipe("quickstart/sl", overrides=FEW), run, device=torch.device("cpu"))
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def failing(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["reinforced", *map(str, arguments)])
    earlier = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main()
    signal.signal(signal.SIGTERM, earlier)
    return int(ended.value.code or 0)


def test_a_folder_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(ReinforcedError, match=r"cannot write /proc/x/b\.md: .*; choose a folder"):
        write_text(Path("/proc/x/b.md"), "")


def test_a_lock_that_cannot_say_who_holds_it_is_one_line(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        with pytest.raises(ReinforcedError, match="cannot write"), locked(tmp_path / "run.lock", "--run"):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_cut_recipe_is_not_taken_for_one_with_defaults(run: Path) -> None:
    file = run / "recipe.yaml"
    assert (
        json.loads((run / "environment.json").read_text())["recipe_sha256"]
        == hashlib.sha256(file.read_bytes()).hexdigest()
    )
    text = file.read_text()
    cut = text[: text.rindex("\n", 0, -1) + 1]
    file.write_text(cut)
    with pytest.raises(ReinforcedError, match="changed since the run began"):
        _ = RunDirectory(run).recipe
    assert "recipe.yaml: changed since the run began" in read_runs([run])[0].gaps


def test_finishing_writes_the_last_weights_anew(run: Path) -> None:
    last = run / "checkpoints" / "last.safetensors"
    whole = weights_hash(last)
    last.write_bytes(last.read_bytes()[:-1])
    (run / "summary.json").unlink()
    train(RunDirectory(run).recipe, run, device=torch.device("cpu"))
    assert weights_hash(last) == whole
    load_model(run)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO])
def test_the_system_s_errors_are_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> list[str]:
        raise OSError(number, os.strerror(number), "somewhere")

    monkeypatch.setattr("reinforced.training.recipes.recipe_names", refuse)
    assert failing(monkeypatch, "recipe") == 2
    assert capsys.readouterr().err == f"error: somewhere: {os.strerror(number)}\n"


@pytest.mark.parametrize(("output", "code"), [("/dev/full", 2), ("closed pipe", 1)])
def test_output_that_nobody_takes(output: str, code: int) -> None:
    read, write = os.pipe()
    os.close(read)
    target = os.open(output, os.O_WRONLY) if output.startswith("/") else write
    found = subprocess.run(
        [sys.executable, "-m", "reinforced", "--help"],
        stdout=target,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(target)
    assert found.returncode == code
    assert len(found.stderr.splitlines()) == (1 if code == 2 else 0)


def test_sigterm_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(
        "reinforced.training.recipes.recipe_names", lambda: os.kill(os.getpid(), signal.SIGTERM)
    )
    assert failing(monkeypatch, "recipe") == 128 + signal.SIGTERM
    assert capsys.readouterr().err.startswith("error: terminated; what is finished is kept")


def test_fuzzed_recipes_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setenv("REINFORCED_CACHE", str(tmp_path / "cache"))
    from injections.fuzz import fuzz_data, fuzz_recipes
    from injections.tally import Tally

    tally = Tally()
    fuzz_recipes(tmp_path / "recipes", 15, tally)
    fuzz_data(tmp_path / "data", 8, tally)
    assert tally.kinds["fuzzed recipe"].injected == 15
    assert tally.kinds["fuzzed data file"].injected == 8
    assert tally.faults == []


@pytest.mark.parametrize("bit", [0, 6])
def test_an_archive_with_a_damaged_header_is_one_line(bit: int, tmp_path: Path) -> None:
    file = tmp_path / "claim.npz"
    tensors = {"rows": torch.arange(40)}
    write_part(file, Part(tensors, "", 0.0, digest(list(tensors.values()), "")))
    content = bytearray(file.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] ^= 1 << bit  # the flags: encrypted
    content[content.index(b"PK\x03\x04") + 60] ^= 1 << bit  # compressed data
    file.write_bytes(bytes(content))
    with pytest.raises(ReinforcedError, match=r"damaged .*; delete it and evaluate again"):
        read_part(file, ("rows",))


def test_a_summary_without_a_figure_hides_no_other_run(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, run.parent / "other")
    file = run / "summary.json"
    file.write_text(file.read_text().replace('"stopped_early"', '"stopqed_early"'))
    assert failing(monkeypatch, "runs", run.parent) == 0
    assert "corrupt (no stopped_early)" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(ReinforcedError, match="resume the run to write it again"):
        RunDirectory(run).summary()


def test_a_damaged_subject_is_one_line(tmp_path: Path, bare_evaluation: dict[str, object]) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(bare_evaluation))
    (tmp_path / "subject.json").write_text("{")
    with pytest.raises(ReinforcedError, match=r"subject.json: damaged"):
        verify_folder(tmp_path, torch.device("cpu"))


def test_metrics_cut_after_a_line_are_seen(run: Path) -> None:
    file = run / "metrics.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ReinforcedError, match="damaged"):
        read_run(run, "run")
    file.write_text(file.read_text() or '{"epoch": 1}\n')
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "epochs": 2}))
    (record,) = read_runs([run])
    assert "metrics.jsonl: has 1 of 2 epochs" in record.gaps
    (run / "summary.json").unlink()
    with pytest.raises(ReinforcedError, match="a row lacks its accuracies"):
        train(RunDirectory(run).recipe, run, device=torch.device("cpu"))


def test_a_lock_that_waits_is_had_once_the_other_lets_go(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with locked(tmp_path / "a.lock", "--runs", wait=True):
            order.append("second")

    with locked(tmp_path / "a.lock", "--runs"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
