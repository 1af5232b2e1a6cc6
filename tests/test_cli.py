from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reinforced import cli

SMALL = ["data.limit=96", "batch_size=32", "phases.0.epochs=1", "precision=float32"]


class Outcome(SimpleNamespace):
    """``code``, ``out`` and ``err`` of a command."""

    code: int
    out: str
    err: str


Run = Callable[..., Outcome]


@pytest.fixture
def reinforced(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RANK", raising=False)

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["reinforced", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(code=caught.value.code, out=captured.out, err=captured.err)

    return run


@pytest.fixture
def fails(reinforced: Run) -> Callable[..., str]:
    """The one line that a command fails with."""

    def run(*arguments: str) -> str:
        outcome = reinforced(*arguments)
        assert outcome.code == 2
        assert outcome.out == ""
        (line,) = outcome.err.splitlines()
        assert line.startswith("error: ")
        return str(line.removeprefix("error: "))

    return run


def test_help_is_quick_and_lists_the_commands() -> None:
    began = time.monotonic()
    code = "import sys; sys.argv[1:] = ['--help']; from reinforced.cli import main\ntry: main()\n"
    code += "finally: assert not {'torch', 'numpy', 'pydantic', 'rich.console'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("quickstart", "train", "data", "recipe", "runs"):
        assert f"\n  {command} " in done.stdout
    assert time.monotonic() - began < 10  # a loaded machine; alone it is under 0.6 s


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_without_a_command_there_is_help(reinforced: Run, arguments: list[str]) -> None:
    outcome = reinforced(*arguments)
    assert outcome.code == 0
    assert outcome.err == ""
    assert "--debug" in outcome.out


@pytest.mark.parametrize("command", ["quickstart", "train", "data", "recipe", "runs"])
def test_each_command_has_help(reinforced: Run, command: str) -> None:
    outcome = reinforced(command, "--help")
    assert outcome.code == 0
    assert f"Usage: reinforced {command}" in outcome.out


def test_recipes(reinforced: Run) -> None:
    assert "quickstart/rl\n" in reinforced("recipe").out
    printed = reinforced("recipe", "quickstart/sl", "seed=3")
    assert printed.code == 0
    assert "\nseed: 3\n" in printed.out
    fields = reinforced("recipe", "--fields").out
    assert "phases.N.objective<reinforce>.exploration" in fields
    assert "int | none [images]" in fields


def test_train_resume_and_list(reinforced: Run, tmp_path: Path) -> None:
    first = reinforced("train", "quickstart/sl", *SMALL, "--seed", "3", "--device", "cpu")
    assert first.code == 0, first.err
    assert first.out.startswith("runs/quickstart-sl-seed3: 1 epochs, test accuracy ")
    assert "epoch 1/1  loss " in first.err
    run = tmp_path / "runs" / "quickstart-sl-seed3"
    assert json.loads((run / "summary.json").read_text())["epochs"] == 1
    (run / "summary.json").unlink()
    for again in (["train", "--resume", str(run)], ["train", "quickstart/sl", *SMALL, "--seed", "3"]):
        outcome = reinforced(*again)
        assert outcome.code == 0
        assert outcome.out.split(": ", 1)[1] == first.out.split(": ", 1)[1]
        assert outcome.err == ""
    listed = reinforced("runs").out
    assert "quickstart-sl-seed3" in listed
    assert "finished" in listed
    assert reinforced("runs", str(run)).out == listed


def test_only_one_of_several_processes_speaks(reinforced: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from reinforced.training import loop

    def fit(*arguments: Any, **options: Any) -> dict[str, Any]:
        return {}

    monkeypatch.setattr(loop, "train", fit)
    monkeypatch.setenv("RANK", "1")
    assert reinforced("train", "quickstart/sl", "--device", "cpu").out == ""


def test_data(reinforced: Run, tmp_path: Path) -> None:
    outcome = reinforced("data", "digits", "--sheet", "a/sheet.png", "--save", "digits.npz")
    assert outcome.code == 0, outcome.err
    assert "1197" in outcome.out
    assert "sha256 " in outcome.out
    assert (tmp_path / "a" / "sheet.png").read_bytes().startswith(b"\x89PNG")
    with np.load(tmp_path / "digits.npz") as saved:
        assert set(saved) >= {"X_train", "y_train", "X_test", "y_test"}
    assert reinforced("data", "npz:digits.npz").code == 0
    assert (tmp_path / "npz-digits.npz.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["trian"], "No such command 'trian'"),
        (["train", "--sed", "1"], "No such option: --sed"),
        (["train", "quickstart/sl", "--seed", "x"], "Invalid value for '--seed'"),
        (["train", "quickstart/sl", "--run"], "Option '--run' requires an argument"),
        (["train"], "which recipe? `reinforced recipe` lists them; or --resume RUN"),
        (["train", "quickstart/s"], "no recipe 'quickstart/s'; did you mean 'quickstart/sl'?"),
        (["train", "quickstart/sl", "optimizer.l=1"], "optimizer.l: unknown field; did you mean 'lr'?"),
        (["train", "quickstart/sl", "--size", "cp"], "has no size 'cp'"),
        (["train", "quickstart/sl", "--device", "tpu"], "no such device 'tpu'; known: auto, cpu, cuda"),
        (["train", "quickstart/sl", "--device", "cuda:99"], "no such device cuda:99"),
        (["train", "--resume", "nowhere"], "nowhere is no run directory"),
        (["train", "quickstart/sl", "--resume", "nowhere"], "--resume RUN goes on with what the run"),
        (["train", "quickstart/sl", "batch_size=9999"], "batch_size 9999 is larger than the 1197 training"),
        (["train", "quickstart/sl", "data.limit=9999"], "limit=9999 is more than"),
        (["train", "quickstart/sl", "model.name=tinny"], "unknown network 'tinny'; did you mean 'tiny'?"),
        (["train", "quickstart/sl", "data.source=npz:no.npz"], "no.npz"),
        (["recipe", "nosuch"], "no recipe 'nosuch'"),
        (["recipe", "quickstart"], "quickstart is a family of recipes: "),
        (["runs", "nowhere"], "no folder nowhere; train something first"),
        (["data", "digts"], "unknown source 'digts'; did you mean 'digits'?"),
        (["data", "digits", "--size", "32"], "is not resized"),
    ],
)
def test_errors_are_one_line(fails: Callable[..., str], arguments: list[str], expected: str) -> None:
    assert expected in fails(*arguments)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_devices_that_are_not_there(
    fails: Callable[..., str], monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert f"no such device {device}" in fails("train", "quickstart/sl", "--device", device)


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, place: int) -> None:
    """Anywhere on the line: the error itself leaves ``main``, and Python prints its traceback."""
    from reinforced.errors import ReinforcedError

    arguments = ["recipe", "nosuch", "seed=1"]
    monkeypatch.setattr(sys, "argv", ["reinforced", *arguments[:place], "--debug", *arguments[place:]])
    with pytest.raises(ReinforcedError, match="no recipe 'nosuch'"):
        cli.main()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ZeroDivisionError("a\nb"), 1, "error: internal: ZeroDivisionError: a b (--debug shows where)"),
        (KeyError(), 1, "error: internal: KeyError: (--debug shows where)"),
        (KeyboardInterrupt(), 130, "error: interrupted"),
    ],
)
def test_internal_errors_say_so(
    reinforced: Run, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, line: str
) -> None:
    from reinforced.training import recipes

    def broken() -> list[str]:
        raise error

    monkeypatch.setattr(recipes, "recipe_names", broken)
    outcome = reinforced("recipe")
    assert outcome.code == code
    assert [found for found in outcome.err.splitlines() if found] == [line]


def test_an_interrupted_run_exits_as_the_signal_says(
    reinforced: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reinforced.errors import Interrupted
    from reinforced.training import loop

    def stopped(*arguments: Any, **options: Any) -> dict[str, Any]:
        raise Interrupted("stopped; go on with ...", 143)

    monkeypatch.setattr(loop, "train", stopped)
    outcome = reinforced("train", "quickstart/sl", "--device", "cpu")
    assert (outcome.code, outcome.err) == (143, "error: stopped; go on with ...\n")


def test_a_run_that_fails_leaves_the_earlier_one(
    fails: Callable[..., str], reinforced: Run, tmp_path: Path
) -> None:
    assert reinforced("train", "quickstart/sl", *SMALL, "--run", "r").code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "r").rglob("*") if path.is_file()}
    message = fails("train", "quickstart/sl", *SMALL, "optimizer.lr=1", "--run", "r")
    assert (
        message
        == "r holds another run: optimizer.lr is 0.003 there and 1.0 here; give this one its own --run DIR"
    )
    assert {path: path.read_bytes() for path in before} == {
        path: content if path.name != "run.lock" else path.read_bytes() for path, content in before.items()
    }


def test_the_quickstart(reinforced: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from reinforced.studies import quickstart
    from reinforced.training.recipes import load_recipe as load

    def short(name: str, *, overrides: list[str]) -> Any:
        return load(name, overrides=[*overrides, *SMALL])

    monkeypatch.setattr(quickstart, "load_recipe", short)
    monkeypatch.setattr(quickstart, "ATTACKS", ("fgsm", "pgd(steps=1)"))
    outcome = reinforced("quickstart", "--device", "cpu")
    assert outcome.code == 0, outcome.err
    for word in (
        "RL, expected",
        "RL-adv",
        "runs/quickstart-rl-expected",
        "95 % interval",
        "reinforced runs runs",
    ):
        assert word in outcome.out
