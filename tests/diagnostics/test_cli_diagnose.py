"""``reinforced diagnose`` as a user types it: what it refuses comes before what it must train."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from reinforced.studies.diagnosis import control_folder, undefended
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.run import RunDirectory
from tests.typed import Typed, TypedIn


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    recipe = load_recipe("quickstart/sl", overrides=["phases.0.epochs=1", "data.limit=192"])
    train(recipe, folder / "sl", device=torch.device("cpu"))
    changes = ["data.source=synthetic:10x8", "model.normalize=none", "phases.0.epochs=1", "data.limit=192"]
    coloured = load_recipe("quickstart/sl", overrides=changes)
    train(coloured, folder / "coloured", device=torch.device("cpu"))
    return folder


@pytest.fixture
def typed(runs: Path, typed_at: TypedIn) -> Typed:
    return typed_at(runs)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--claim pgdd@linf:0.15", "no attack 'pgdd'; did you mean 'pgd'?"),
        ("--claim rays@l2:0.5", "rays does not work in l2, only in linf"),
        ("--claim pgd@linf:0.15 --surrogates nowhere", "nowhere is no run directory"),
        ("--claim pgd@linf:0.15 --smoothed nowhere", "nowhere is no run directory"),
        ("--claim pgd@linf:0.15 --weights w.pth", "--weights is for networks by name"),
        ("--claim pgd@linf:0.15 --control coloured", "its images are 1x8x8, those that coloured was"),
        ("--claim pgd@linf:0.15 --surrogates coloured", "its images are 1x8x8, those that coloured was"),
        ("--claim pgd@linf:0.15 --control ./sl/", "is the diagnosed model itself"),
        ("--claim pgd@linf:0.15 --control sl", "is the diagnosed model itself"),
    ],
)
def test_no_control_is_trained_for_what_is_refused(line: str, said: str, typed: Typed, runs: Path) -> None:
    code, _, err = typed(f"diagnose sl --images 4 --budget quick {line}")
    assert (code, said in err) == (2, True), err
    assert not (runs / "sl" / "diagnostics").exists()


def test_networks_by_name_have_folders_of_their_own(typed: Typed, runs: Path) -> None:
    line = "--source digits --normalize digits --weights sl/checkpoints/last.safetensors --control sl"
    (runs / "lent_networks.py").write_text(
        "from reinforced.models import build\n\n\n"
        "def net(shape, classes):\n    return build('tiny', shape=shape, classes=classes).network\n"
    )
    for name in ("tiny", "lent_networks:net"):
        code, _, err = typed(
            f"diagnose {name} {line} --claim fgsm@linf:0.15 --images 4 --budget quick --out o"
        )
        assert code == 0, err
    assert len(list((runs / "o").glob("*/verdict.json"))) == 2


def test_the_control_does_not_begin_with_a_defences_weights() -> None:
    recipe = load_recipe("hybrid/fine-tune", overrides=["model.weights=defended.safetensors"])
    assert recipe.model.weights is not None
    assert undefended(recipe).model.weights is None


def test_a_control_of_another_recipe_is_not_taken(runs: Path, tmp_path: Path) -> None:
    run = RunDirectory(shutil.copytree(runs / "sl", tmp_path / "sl"))
    control = control_folder(run.path)
    assert control == run.path / "diagnostics" / "control"
    RunDirectory(control).prepare(undefended(run.recipe))
    assert control_folder(run.path) == control
    shutil.rmtree(control)
    other = load_recipe("quickstart/sl", overrides=["phases.0.epochs=1", "data.limit=128"])
    train(other, control, device=torch.device("cpu"))
    assert control_folder(run.path).name.startswith("control-")
    assert control_folder(run.path) == control_folder(run.path)
