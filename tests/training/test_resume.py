"""A run that is stopped, killed or damaged, and started again."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reinforced.errors import Interrupted, ReinforcedError
from reinforced.training import epoch_end, loop
from reinforced.training.checkpoint import load_checkpoint, save_checkpoint, weights_hash
from reinforced.training.loop import train
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe, recipe_yaml
from reinforced.training.run import RunDirectory, default_run, overview

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]
Pieces = Callable[[Recipe, Path, int], int]
Figures = Callable[[Path], list[dict[str, Any]]]
NOISY = {"name": "user_networks:noisy"}
CPU = torch.device("cpu")

RECIPES: dict[str, dict[str, Any]] = {
    "plain": {},
    "dropout and batch norm": {"model": NOISY},
    "adamw on a convolution": {"model": {"name": "tiny"}, "optimizer": {"kind": "adamw"}},
    "rmsprop with momentum": {"model": {"name": "tiny"}, "optimizer": {"kind": "rmsprop", "momentum": 0.5}},
    "ema": {"model": NOISY, "averaging": {"kind": "ema", "decay": 0.8}},
    "swa": {"model": NOISY, "averaging": {"kind": "swa", "start": 0.3}, "phases": [{"epochs": 3}]},
    "two phases": {
        "optimizer": {"kind": "adamw"},
        "phases": [
            {"epochs": 1, "objective": {"kind": "reinforce", "exploration": 0.2}, "lr": 0.01},
            {"epochs": 2, "schedule": {"kind": "cosine", "warmup_epochs": 0.5}},
        ],
    },
    "fgsm, sampled": {
        "model": NOISY,
        "data": {"source": "digits", "limit": 96, "augment": {"translate": 0.2, "cutout": 2}},
        "phases": [
            {
                "epochs": 2,
                "objective": {"kind": "reinforce", "samples": 2, "baseline": "leave_one_out"},
                "adversary": {"kind": "fgsm", "epsilon": 0.1, "craft": "sampled"},
            }
        ],
    },
    "a schedule of objectives": {
        "phases": [
            {
                "epochs": 2,
                "objective": {
                    "kind": "interpolation",
                    "first": {"kind": "cross_entropy"},
                    "second": {"kind": "reinforce", "exploration": 0.1},
                },
            }
        ],
    },
    "ppo, a budget that ends within an epoch": {
        "phases": [
            {"epochs": 1, "objective": {"kind": "ppo", "updates": 2}},
            {"epochs": 9, "schedule": {"kind": "cosine"}, "adversary": {"kind": "fast"}},
        ],
        "budget": {"passes": 6 * 96 + 5 * 32 * 4.5},
    },
    "free": {
        "model": {"name": "tiny"},
        "phases": [{"epochs": 2, "adversary": {"kind": "free", "minibatch_replays": 2}}],
    },
    "awp": {
        "model": NOISY,
        "phases": [
            {"epochs": 2, "adversary": {"kind": "awp", "inner": {"kind": "trades", "steps": 2, "step": 0.02}}}
        ],
    },
    "regularisers": {
        "model": NOISY,
        "phases": [
            {
                "epochs": 2,
                "adversary": {"kind": "fgsm", "start": "uniform"},
                "regularisers": [
                    {"kind": "jacobian"},
                    {"kind": "gradient_alignment"},
                    {"kind": "spectral_norm"},
                ],
            }
        ],
    },
    "probe, kept epochs": {
        "probe": {"train_images": 16, "validation_images": 8, "steps": 2, "select": True, "every": 2},
        "phases": [{"epochs": 3}],
        "keep_every": 2,
    },
    "early stopping": {
        "optimizer": {"kind": "sgd", "lr": 1e-30},
        "phases": [{"epochs": 9}],
        "early_stopping": {"patience": 1},
    },
}


def hashes(run: Path) -> list[str]:
    directory = RunDirectory(run)
    return [
        weights_hash(file) for file in (directory.weights("last"), directory.weights("best"), directory.state)
    ]


def leftovers(run: Path) -> list[Path]:
    return list(run.glob("**/*.part"))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("every", [1, 2])
def test_stopping_changes_nothing(
    make: Make, fit: Fit, fit_in_pieces: Pieces, figures: Figures, tmp_path: Path, name: str, every: int
) -> None:
    """Stopped after every batch, or every other: the same weights, state and metrics to the bit."""
    recipe = make(**RECIPES[name])
    whole = fit(recipe, tmp_path / "whole")
    assert fit_in_pieces(recipe, tmp_path / "pieces", every) >= 3
    assert hashes(tmp_path / "pieces") == hashes(tmp_path / "whole")
    assert figures(tmp_path / "pieces") == figures(tmp_path / "whole")
    pieces = RunDirectory(tmp_path / "pieces").summary()
    assert pieces is not None
    assert pieces | {"seconds": 0} == whole | {"seconds": 0}
    assert leftovers(tmp_path / "pieces") == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_after_the_update(make: Make, tmp_path: Path, number: int, code: int) -> None:
    class Once:
        def start(self, total: int, done: int) -> None:
            assert (total, done) == (192, 0)

        def advance(self, images: int) -> None:
            os.kill(os.getpid(), number)

        def epoch(self, row: Any, epochs: int) -> None:
            raise AssertionError("no epoch ends")

        def note(self, text: str) -> None:
            raise AssertionError(text)

    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        train(make(), tmp_path / "run", device=CPU, reporter=Once())
    assert caught.value.exit_code == code
    assert (
        f"stopped in epoch 1 of 2; everything is saved: go on with `reinforced train --resume {tmp_path}/run`"
        in str(caught.value)
    )
    assert signal.getsignal(number) is before
    _, values = load_checkpoint(RunDirectory(tmp_path / "run").state)
    assert (values["place"]["epoch"], values["place"]["batch"]) == (0, 1)


def test_a_thread_trains_without_signals(make: Make, fit: Fit, tmp_path: Path) -> None:
    thread = threading.Thread(target=fit, args=(make(), tmp_path / "run"))
    thread.start()
    thread.join()
    assert RunDirectory(tmp_path / "run").summary() is not None


def test_saves_within_a_long_epoch(
    make: Make, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    with pytest.raises(ReinforcedError, match="not finite in epoch 2, batch 2"):
        fit(make(model={"name": "user_networks:nan_logits"}), tmp_path / "run")
    _, values = load_checkpoint(RunDirectory(tmp_path / "run").state)
    assert (values["place"]["epoch"], values["place"]["batch"]) == (1, 1)


def test_a_finished_run_is_not_trained_again(
    make: Make, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = fit(make(), tmp_path / "run")
    monkeypatch.setattr(loop, "load", None)  # not even its data is read
    assert fit(make(), tmp_path / "run") == summary


def test_a_finished_run_that_lost_its_summary_writes_it_again(make: Make, fit: Fit, tmp_path: Path) -> None:
    summary = fit(make(), tmp_path / "run")
    (tmp_path / "run" / "summary.json").unlink()
    assert fit(make(), tmp_path / "run") == summary


def test_lost_metrics(make: Make, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(make(), tmp_path / "run", stop=4)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    with pytest.raises(ReinforcedError, match=r"metrics.jsonl has 0 of 1 epochs; restore it, or"):
        fit(make(), tmp_path / "run")


def test_another_recipe_in_the_directory(make: Make, fit: Fit, tmp_path: Path) -> None:
    fit(make(), tmp_path / "run")
    before = hashes(tmp_path / "run")
    for changes, difference in (
        ({"seed": 3}, "seed is 0 there and 3 here"),
        (
            {"phases": [{"epochs": 2, "objective": {"kind": "expected_pg"}}]},
            "phases.0.objective.kind is 'cross_en",
        ),
        ({"phases": [{"epochs": 2}, {"epochs": 1}]}, "phases is "),
        ({"averaging": {"kind": "ema"}}, "averaging is None there and {'kind': 'ema', 'decay': 0.999} here"),
    ):
        with pytest.raises(ReinforcedError, match="holds another run: ") as caught:
            fit(make(**changes), tmp_path / "run")
        assert difference in str(caught.value)
    assert hashes(tmp_path / "run") == before


def test_a_folder_of_something_else_is_left_alone(make: Make, fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ReinforcedError, match="is not empty and no run directory"):
        fit(make(), tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ReinforcedError, match=r"cannot write .*thesis.tex"):
        fit(make(), tmp_path / "thesis.tex")


def test_what_a_kill_in_the_first_moments_leaves_is_no_obstacle(make: Make, fit: Fit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints").rmdir()
    (run / "run.lock").write_text("")
    (run / ".recipe.yaml.abc.part").write_text("na")
    fit(make(), run)
    (run / "checkpoints" / ".state.safetensors.xyz.part").write_bytes(b"half")
    (run / "summary.json").unlink()
    fit(make(), run)
    assert leftovers(run) == []


def test_a_run_that_fails_before_it_has_begun_leaves_no_run(make: Make, fit: Fit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for wrong in ({"batch_size": 100_000}, {"model": {"name": "tinny"}}):
        with pytest.raises(ReinforcedError):
            fit(make(**wrong), run)
        assert [entry.name for entry in run.iterdir()] == ["run.lock"]
    fit(make(), run)
    with pytest.raises(ReinforcedError, match="holds another run"):
        fit(make(seed=3), run)


def test_a_recipe_that_is_not_ours_is_kept(make: Make, fit: Fit, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(recipe_yaml(make(batch_size=100_000)))
    for recipe in (make(batch_size=100_000), make()):
        with pytest.raises(ReinforcedError):
            fit(recipe, tmp_path)
        assert RunDirectory(tmp_path).recipe.batch_size == 100_000


def test_a_run_killed_before_its_first_epoch_is_no_obstacle(make: Make, fit: Fit, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.prepare(make(seed=3))
    run.write_environment({})
    fit(make(), run.path)
    assert run.recipe.seed == 0


def test_two_processes_in_one_directory(make: Make, fit: Fit, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with (run / "run.lock").open("w") as file:
        file.write("4711\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ReinforcedError, match="is in use by process 4711; wait for it, or choose"):
            fit(make(), run)
    fit(make(), run)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_directory(make: Make, fit: Fit, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ReinforcedError, match="cannot write"):
        fit(make(), tmp_path / "run")
    tmp_path.chmod(0o700)


def test_the_overview(make: Make, fit: Fit, tmp_path: Path) -> None:
    fit(make(), tmp_path / "done")
    with pytest.raises(Interrupted):
        fit(make(seed=4), tmp_path / "half", stop=4)
    fit(make(), tmp_path / "torn")
    (tmp_path / "torn" / "summary.json").write_text("{")
    fit(make(), tmp_path / "strange")
    (tmp_path / "strange" / "metrics.jsonl").write_text("5\n")
    (tmp_path / "stray.txt").write_text("")
    done, half, strange, torn = overview(tmp_path)
    assert "a line is not a JSON object" in strange.state
    summary = json.loads((tmp_path / "done" / "summary.json").read_text())
    assert (done.state, done.epoch, done.epochs, done.passes) == ("finished", 2, 2, 576)
    assert done.test == summary["test_accuracy"]
    assert (half.state, half.epoch, half.seed, half.test) == ("unfinished", 1, 4, None)
    assert torn.state.startswith("unreadable: ")
    assert "delete it and resume the run" in torn.state
    assert [row.name for row in overview(tmp_path / "done")] == ["done"]
    with pytest.raises(ReinforcedError, match="no folder"):
        overview(tmp_path / "nowhere")
    with pytest.raises(ReinforcedError, match="no runs in"):
        overview(tmp_path / "done" / "checkpoints")


def test_default_names(make: Make) -> None:
    assert default_run(make(name="a/b"), Path("runs")) == Path("runs/a-b")
    assert default_run(make(size="cpu", seed=3), Path("x")) == Path("x/test-cpu-seed3")


def command(recipe: Path, run: Path, slow: str = "0.1") -> subprocess.Popen[str]:
    """``reinforced train`` as a process of its own, in batches that take their time."""
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "reinforced", "train", str(recipe), "--run", str(run), "--device", "cpu"],
        env=os.environ | {"SLOW": slow, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_signals_and_kills_through_the_command(
    recipe_file: Callable[..., Path], fit: Fit, tmp_path: Path
) -> None:
    """Ctrl-C, SIGTERM and SIGKILL in the second epoch of three runs; each goes on to the same bytes."""
    file = recipe_file(model={"name": "user_networks:slow"}, phases=[{"epochs": 3}])
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    started = {number: command(file, tmp_path / number.name) for number in codes}
    try:
        waiting = dict(started)
        deadline = time.monotonic() + 120
        while waiting:
            assert time.monotonic() < deadline
            time.sleep(0.01)
            for number, process in list(waiting.items()):
                if RunDirectory(tmp_path / number.name).state.exists():
                    waiting.pop(number).send_signal(number)
                else:
                    assert process.poll() is None, process.communicate()
        outcomes = {
            number: (*process.communicate(timeout=60), process.returncode)
            for number, process in started.items()
        }
    finally:
        for process in started.values():
            process.kill()
    recipe = load_recipe(str(file))
    fit(recipe, tmp_path / "whole")
    for number, code in codes.items():
        out, err, returned = outcomes[number]
        run = tmp_path / number.name
        assert returned == code
        assert out == ""
        assert "Traceback" not in err
        if number != signal.SIGKILL:
            (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
            assert f"go on with `reinforced train --resume {run}`" in line
        assert RunDirectory(run).summary() is None
        fit(RunDirectory(run).recipe, run)
        assert hashes(run) == hashes(tmp_path / "whole")


def test_other_images_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A data source that changed under a run would mix two training sets without a word."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = np.arange(120) % 4

    def write(shift: int) -> None:
        images = rng.integers(0, 200, (120, 8, 8, 1), dtype=np.uint8) + np.uint8(shift)
        np.savez(tmp_path / "data.npz", X_train=images, y_train=labels, X_test=images, y_test=labels)

    write(0)
    recipe = load_recipe(
        "quickstart/sl",
        overrides=[f"data.source=npz:{tmp_path / 'data.npz'}", "model.normalize=none", "phases.0.epochs=2"],
    )
    run = tmp_path / "run"
    monkeypatch.setattr(epoch_end.Books, "finish", lambda self: {})
    train(recipe, run, device=CPU)
    write(1)
    with pytest.raises(ReinforcedError, match="trained on other images"):
        train(recipe, run, device=CPU)


def test_a_recipe_put_there_by_hand_after_a_kill_is_kept(make: Make, fit: Fit, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.prepare(make(seed=3))
    (run.path / ".environment.json.abc.part").write_text("half")
    assert "seed" in run.other(make())
    with pytest.raises(ReinforcedError, match="holds another run"):
        fit(make(), run.path)
    run.write_environment({})
    (run.path / ".metrics.jsonl.abc.part").write_text("half")
    assert run.other(make()) == ""
    (run.path / "notes.txt").write_text("mine")
    assert "seed" in run.other(make())


def test_a_run_goes_on_on_the_same_kind_of_device(make: Make, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(make(), tmp_path / "run", 2)
    state = tmp_path / "run" / "checkpoints" / "state.safetensors"
    tensors, values = load_checkpoint(state)
    short = {name: value[:16] if name.startswith("stream.") else value for name, value in tensors.items()}
    save_checkpoint(state, short, values)
    with pytest.raises(ReinforcedError, match="written on another kind of device"):
        fit(make(), tmp_path / "run")
