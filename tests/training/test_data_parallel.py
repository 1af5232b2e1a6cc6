"""Two processes over gloo, as torchrun starts them, against one."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from reinforced.training.checkpoint import load_checkpoint
from reinforced.training.recipes import load_recipe
from reinforced.training.run import RunDirectory

TWO_PHASES = {
    "model": {"name": "tiny"},
    "data": {"source": "digits", "limit": 96, "augment": {"translate": 0.1}},
    "phases": [
        {"epochs": 1},
        {"epochs": 1, "objective": {"kind": "reinforce", "exploration": 0.5, "coin": "batch"}},
        {
            "epochs": 1,
            "objective": {"kind": "reinforce", "exploration": 0.2, "samples": 2, "baseline": "leave_one_out"},
            "adversary": {"kind": "fgsm", "epsilon": 0.05},
        },
    ],
}
Fit = Callable[..., dict[str, Any]]
Figures = Callable[[Path], list[dict[str, Any]]]


@contextmanager
def torchrun(recipe: Path, run: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    process = subprocess.Popen(
        [sys.executable, *launcher, "reinforced", "train", str(recipe), "--run", str(run), "--device", "cpu"],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(RunDirectory(run).weights("last"))[0]


def assert_same_training(one: Path, two: Path, figures: Figures) -> None:
    for name, value in weights(one).items():
        assert (weights(two)[name] - value).abs().max() < 1e-5, name
    for alone, together in zip(figures(one), figures(two), strict=True):
        assert list(together) == list(alone)
        for key, value in alone.items():
            assert together[key] == (pytest.approx(value, abs=1e-5) if isinstance(value, float) else value), (
                key
            )


def test_two_processes_train_as_one(
    recipe_file: Callable[..., Path], fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    """Every draw is made for the global batch, so exploration and augmentation do not see the world's size.

    Two processes are stopped within the third epoch; one process finishes, with the sums of both.
    """
    file = recipe_file(**TWO_PHASES | {"model": {"name": "user_networks:slow_linear"}})
    run = tmp_path / "two"
    with torchrun(file, run, SLOW="0.3") as process:
        deadline = time.monotonic() + 90
        while len(RunDirectory(run).metrics()) < 2:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert f"go on with `reinforced train --resume {run}`" in err
    assert err.count("epoch 2/3") == 1  # one process speaks
    assert out == ""
    place = load_checkpoint(RunDirectory(run).state)[1]["place"]
    assert place["epoch"] == 2
    assert 0 < place["batch"] <= 3
    recipe = load_recipe(str(file))
    fit(recipe, run)
    fit(recipe, tmp_path / "one")
    assert_same_training(tmp_path / "one", run, figures)


def stopped_within(epoch: int, file: Path, run: Path) -> None:
    with torchrun(file, run, SLOW="0.3") as process:
        deadline = time.monotonic() + 90
        while len(RunDirectory(run).metrics()) < epoch - 1:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_two_processes_go_on_to_the_bit(recipe_file: Callable[..., Path], tmp_path: Path) -> None:
    """Each has dropout masks and batch-norm averages of its own, which the adversary in eval mode sees."""
    phases = [{"epochs": 2, "adversary": {"kind": "trades", "epsilon": 0.1, "steps": 2, "step": 0.05}}]
    file = recipe_file(model={"name": "user_networks:slow"}, data=TWO_PHASES["data"], phases=phases)
    stopped_within(2, file, tmp_path / "pieces")
    assert load_checkpoint(RunDirectory(tmp_path / "pieces").state)[1]["place"]["batch"] > 0
    for run in (tmp_path / "pieces", tmp_path / "whole"):
        with torchrun(file, run) as process:
            _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "pieces")
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_first_process_decides_for_all(
    recipe_file: Callable[..., Path], fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    """The other's own probe says collapse, its own accuracy stop: it would leave the first waiting."""
    file = recipe_file(
        model={"name": "user_networks:disagreeing"},
        phases=[{"epochs": 4}],
        early_stopping={"patience": 1},
        probe={"threat": "linf:0.01", "steps": 1, "train_images": 64, "on_collapse": "stop", "select": True},
    )
    with torchrun(file, tmp_path / "two") as process:
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("epochs, test accuracy") == 1
    fit(load_recipe(str(file)), tmp_path / "one")
    assert_same_training(tmp_path / "one", tmp_path / "two", figures)
    assert len(figures(tmp_path / "one")) > 1


def test_an_error_in_the_first_process_ends_all(recipe_file: Callable[..., Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with (run / "run.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with torchrun(recipe_file(), run) as process:
            _, err = process.communicate(timeout=60)
    assert process.returncode != 0
    first = next(line for line in err.splitlines() if line.startswith("error: "))
    assert "is in use by process" in first
    assert [entry.name for entry in run.iterdir()] == ["run.lock"]
