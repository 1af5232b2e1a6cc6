"""``reinforced compare`` as a user types it, on small runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from tests.typed import Typed, TypedIn


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("sl", "rl-expected"):
        for seed in (0, 1, 2):
            overrides = ["phases.0.epochs=1", "data.limit=192", f"seed={seed}"]
            recipe = load_recipe(f"quickstart/{name}", overrides=overrides)
            train(recipe, folder / f"{name}-{seed}", device=torch.device("cpu"))
    return folder


@pytest.fixture
def typed(runs: Path, typed_at: TypedIn) -> Typed:
    return typed_at(runs)


SL, RL = "sl-0 sl-1 sl-2", "rl-expected-0 rl-expected-1 rl-expected-2"


def test_compare_before_and_after_evaluating(typed: Typed, runs: Path, tmp_path: Path) -> None:
    code, out, _ = typed("compare sl-0 rl-expected-0")
    assert code == 0
    assert "not measured" in out
    assert "No test figures: no shared evaluation; `reinforced evaluate sl-0 rl-expected-0" in out
    assert "takes 3 seeds of each; here quickstart/sl 1, quickstart/rl-expected 1" in out

    code, _, _ = typed(f"evaluate {SL} {RL} --threat linf:0.1 --attacks fgsm --images 40")
    assert code == 0
    # The options first: the runs after --threat are none of its values.
    code, out, _ = typed(f"compare --threat linf:0.1 {SL} {RL} --json {tmp_path / 'all.json'}")
    assert code == 0
    assert "mean over 3 seeds [95 % t-interval]: sl-0, sl-1, sl-2" in out
    assert "On 40 test images under linf:0.1 (fgsm; seed 0)" in out
    assert "exact McNemar tests" in out
    assert "Holm" in out
    assert "note: " not in out  # every evaluation was found to be of the weights it names
    rows = [line.split() for line in out.splitlines() if line.strip().startswith("robust, linf:0.1")]
    assert rows[0][-1] == "0.100"
    values = json.loads((tmp_path / "all.json").read_text())
    assert [len(test["checkpoints"]) for test in values["tests"]] == [6]
    record = json.loads(
        (runs / "sl-1" / "evaluations" / "linf-0.1" / "fgsm-40" / "evaluation.json").read_text()
    )
    assert values["tests"][0]["checkpoints"][1]["robust"]["share"] == record["robust_accuracy"]


def test_an_evaluation_of_other_weights_is_left_out(typed: Typed, runs: Path, tmp_path: Path) -> None:
    for name in ("sl-0", "rl-expected-0"):
        shutil.copytree(runs / name, tmp_path / name)
    one, other = tmp_path / "sl-0", tmp_path / "rl-expected-0"
    code, _, _ = typed(f"evaluate {one} {other} --threat linf:0.05 --attacks fgsm --images 20")
    assert code == 0
    for which in ("last", "best"):
        weights = Path("checkpoints") / f"{which}.safetensors"
        shutil.copyfile(runs / "sl-1" / weights, one / weights)
    code, out, _ = typed(f"compare {one} {other} --threat linf:0.05")
    assert code == 0
    assert "is left out: it is of weights that sl-0 has no more" in out
    assert "No test figures" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("compare sl-0", "two runs or more"),
        ("compare", "Missing argument"),
        ("compare sl-0 nowhere", "no run directory"),
        ("compare sl-0 .", "folder of runs"),
        ("compare sl-0 rl-expected-0 --threat standard", "give one of them"),
        ("compare sl-0 rl-expected-0 --threat l2:0.25", "no evaluation under l2:0.25"),
        ("compare sl-0 rl-expected-0 --checkpoint first", "give last, best or a kept epoch"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, typed: Typed) -> None:
    code, _, err = typed(line)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last
