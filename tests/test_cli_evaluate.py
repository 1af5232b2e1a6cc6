"""``reinforced evaluate`` and ``verify`` as a user types them, on a small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reinforced.report.records import read_runs
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from tests.typed import Typed, TypedIn


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("sl", "rl-expected"):
        recipe = load_recipe(f"quickstart/{name}", overrides=["phases.0.epochs=2"])
        train(recipe, folder / name, device=torch.device("cpu"))
    return folder


@pytest.fixture
def typed(runs: Path, typed_at: TypedIn) -> Typed:
    return typed_at(runs)


def test_evaluate_then_verify(typed: Typed, runs: Path) -> None:
    code, out, _ = typed(
        "evaluate sl --threat digits --attacks fgsm pgd(steps=3,loss=margin) --images 80 --gallery 2 "
        "--control rl-expected --surrogates rl-expected"
    )
    assert code == 0
    assert "per-image worst case" in out
    assert "transfer(via=mifgsm" in out
    assert "control" in out
    (folder,) = (runs / "sl" / "evaluations" / "linf-0.15").iterdir()
    assert (folder / "gallery.png").is_file()
    code, out, _ = typed(f"verify {folder}")
    assert code == 0
    assert "verified" in out


def test_what_runs_as_released_is_marked_everywhere(typed: Typed, runs: Path) -> None:
    mark = "as released, unclipped: not in the worst case"
    code, out, _ = typed(
        "evaluate sl --threat l2:0.5 --attacks pgd-as-released(steps=3) pgd(steps=3) "
        "pgd-as-released(preset=script,steps=2) --images 140"
    )
    assert code == 0
    assert "unclipped l2:0.5, over all 140 images" in out
    rows = [line for line in out.splitlines() if line.strip().startswith("pgd-as-released")]
    assert len(rows) == 2
    assert all(mark in row for row in rows)
    (folder,) = (runs / "sl" / "evaluations" / "l2-0.5").iterdir()
    code, out, _ = typed(f"verify {folder}")
    assert code == 0
    said = [line for line in out.splitlines() if line.startswith("pgd-as-released")]
    assert len(said) == 2
    assert all(mark in line and "leave [0,1]" in line for line in said)
    stored = json.loads((folder / "verification.json").read_text())
    assert [check["mark"] for check in stored["as_released"]] == [mark, mark]


def test_shards_by_hand(typed: Typed, runs: Path) -> None:
    code, out, _ = typed("evaluate rl-expected --threat l2:0.5 --attacks fgsm --shards 2/2")
    assert code == 0
    assert "others are missing" in out
    code, out, _ = typed("evaluate rl-expected --threat l2:0.5 --attacks fgsm --shards 1/2")
    assert code == 0
    assert "300 images" in out


def test_larger_chunks(typed: Typed, runs: Path) -> None:
    line = "evaluate rl-expected --threat l2:0.4 --attacks fgsm"
    code, out, _ = typed(f"{line} --chunk 100 --shards 3/3")
    assert (code, "others are missing" in out) == (0, True)
    code, out, _ = typed(line)
    assert (code, "300 images" in out) == (0, True)
    assert len(list((runs / "rl-expected" / "evaluations" / "l2-0.4").glob("*/fgsm/*.npz"))) == 3
    code, _, err = typed(f"{line} --chunk 64")
    assert (code, "holds another evaluation (chunk differs)" in err) == (2, True)


def test_later_images_are_an_evaluation_of_their_own(typed: Typed, runs: Path) -> None:
    line = "evaluate sl --threat linf:0.03 --attacks fgsm"
    for which in ("--images 200", "--images 100 --skip 100", "--skip 200"):
        code, out, _ = typed(f"{line} {which}")
        assert (code, "100 images" in out) == (0, which != "--images 200")
    first, middle, end = (
        runs / "sl" / "evaluations" / "linf-0.03" / f"fgsm-{name}"
        for name in ("200", "100-after-100", "100-after-200")
    )
    right = [
        pq.read_table(folder / "outcomes.parquet").column("robust").to_numpy() for folder in (first, middle)
    ]
    assert right[0][100:].tolist() == right[1].tolist()
    assert typed(f"verify {first} {middle} {end}")[0] == 0
    code, _, err = typed(f"{line} --skip 300")
    assert (code, "digits: has 300 test images; none is left after the first 300" in err) == (2, True)


def test_other_draws_and_other_data_are_evaluations_of_their_own(typed: Typed, runs: Path) -> None:
    line = "evaluate sl --threat linf:0.02 --attacks pgd(steps=2) --images 16"
    images, labels = np.zeros((20, 8, 8, 1), dtype=np.uint8), np.arange(20) % 10
    np.savez(runs / "grey.npz", X_train=images, y_train=labels, X_test=images, y_test=labels)
    for which in ("", " --seed 1", f" --source npz:{runs / 'grey.npz'}", ""):
        code, _, err = typed(line + which)
        assert code == 0, err
    folders = sorted((runs / "sl" / "evaluations" / "linf-0.02").iterdir())
    assert len(folders) == 3
    assert typed(f"verify {' '.join(map(str, folders))}")[0] == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--threat linf:0.01 l2:0.5 --attacks rays", "l2"),
        (
            "--threat linf:0.01 --attacks fgsm --curve epsilonn",
            "no curve over 'epsilonn'; did you mean 'epsilon'",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is(
    wrong: str, said: str, typed: Typed, runs: Path
) -> None:
    code, _, err = typed(f"evaluate sl --images 8 {wrong}")
    assert (code, said in err) == (2, True)
    assert not (runs / "sl" / "evaluations" / "linf-0.01").exists()


def test_a_lent_run_is_taken_at_its_last_weights(typed: Typed, runs: Path) -> None:
    # The models attacked have an epoch that it has not.
    line = "evaluate sl --threat linf:0.04 --attacks fgsm --images 8 --checkpoint best"
    code, _, err = typed(f"{line} --surrogates rl-expected --control rl-expected")
    assert code == 0, err


def test_curves(typed: Typed, runs: Path) -> None:
    code, out, _ = typed(
        "evaluate sl rl-expected --threat linf:0.05 --attacks fgsm --images 20 --curve epsilon models"
    )
    assert code == 0
    assert "PGD over epsilon" in out
    assert "made on, tested on" in out
    assert (runs / "sl" / "evaluations" / "linf-0.05" / "over-epsilon.json").is_file()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("evaluate sl --shards 3", "write i/n"),
        ("evaluate sl --attacks pdg --threat linf:0.1", "did you mean 'pgd'"),
        ("evaluate sl --attacks pgd-as-released --threat l2:1", "only shown beside sealed attacks"),
        ("evaluate sl --attacks pgd-as-released(epsilon=8) pgd --threat l2:1", "no option 'epsilon'"),
        ("evaluate sl --attacks pgd-as-released pgd --threat linf:8/255", "0 < step <= epsilon"),
        ("evaluate sl --attacks pgd-as-released pgd --threat l1:8", "unknown norm 'l1'"),
        ("evaluate nowhere", "no run directory"),
        ("evaluate sl --threat linf:0.1 --weights w.pth", "--weights is for networks by name; sl is a run"),
        ("evaluate sl --threat linf:0.1 --normalize digits", "--normalize is for networks by name; sl is"),
        (
            "evaluate tiny --source digits --weights w.pth --checkpoint best",
            "--checkpoint is for runs; tiny is",
        ),
        ("evaluate sl --source synthetic:10x8", "its images are 3x8x8, those that sl was trained on 1x8x8"),
        ("evaluate sl --checkpoint state", "has no weights state; choose last, best, or a kept epoch"),
        ("evaluate tiny --source digits", "give --weights"),
        ("evaluate sl --threat linf:8", "did you mean linf:8/255"),
        ("evaluate sl --threat linf:0.1 --attacks fgsm --images 8 --curve depth", "no curve over 'depth'"),
        ("verify sl", "no finished evaluation"),
    ],
)
def test_bad_input_is_one_line(line: str, said: str, typed: Typed) -> None:
    code, _, err = typed(line)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert said in last


def test_an_evaluation_from_python_says_how_to_verify_it(
    typed: Typed, tmp_path: Path, bare_evaluation: dict[str, object]
) -> None:
    (tmp_path / "evaluation.json").write_text(json.dumps(bare_evaluation))
    code, _, err = typed(f"verify {tmp_path}")
    assert code == 2
    assert "does not say which model" in err


def test_curves_of_other_weights_and_images_are_not_the_runs(typed: Typed, runs: Path) -> None:
    line = "evaluate sl --threat linf:0.06 --attacks fgsm --images 8 --curve steps"
    for which in ("", " --checkpoint best", " --skip 8", " --seed 1"):
        code, _, err = typed(line + which)
        assert code == 0, err
    places = sorted(
        file.parent.name for file in (runs / "sl" / "evaluations").glob("linf-0.06/**/over-steps.json")
    )
    assert places == ["after-8", "best", "linf-0.06", "seed-1"]
    (record,) = read_runs([runs / "sl"])
    assert [one.over for one in record.curves if one.threat == "linf:0.06"] == ["steps"]


def test_indicators_and_landscapes_of_other_weights_are_not_the_runs(typed: Typed, runs: Path) -> None:
    for which in ("", " --checkpoint best", " --seed 1"):
        code, _, err = typed(f"indicators sl --threat linf:0.06 --images 4 --steps 2{which}")
        assert code == 0, err
        code, _, err = typed(f"landscape sl --threat linf:0.06 --size 4 --steps 2{which}")
        assert code == 0, err
    kept = runs / "sl" / "diagnostics"
    assert sorted(file.parent.name for file in (kept / "indicators").glob("**/*.json")) == [
        "best",
        "indicators",
        "seed-1",
    ]
    assert sorted(folder.name for folder in kept.glob("landscape*")) == [
        "landscape",
        "landscape-best",
        "landscape-seed-1",
    ]
    (record,) = read_runs([runs / "sl"])
    assert (len(record.indicators), len(record.landscapes)) == (1, 1)


DEFENCE = """
import torch
from reinforced.models import build


class Coarse(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model((images * 4).round() / 4)

    def state_dict(self, *arguments, **options):
        return self.model.state_dict(*arguments, **options)

    def load_state_dict(self, state, *arguments, **options):
        return self.model.load_state_dict(state, *arguments, **options)


def coarse(shape, classes):
    return Coarse(build('tiny', shape=shape, classes=classes).network)
"""


def test_weights_behind_another_defence_are_a_surrogate(typed: Typed, runs: Path) -> None:
    (runs / "defences.py").write_text(DEFENCE)
    line = "--source digits --normalize digits --weights sl/checkpoints/last.safetensors --out o --images 8"
    code, out, err = typed(
        f"evaluate defences:coarse {line} --threat linf:0.06 --attacks fgsm --surrogates sl"
    )
    assert code == 0, err
    assert "from=sl" in out
    code, out, err = typed("evaluate sl --threat linf:0.07 --attacks fgsm --images 8 --surrogates ../runs/sl")
    assert "transfer" not in out


def test_a_gallery_of_nothing_broken_is_said(typed: Typed, runs: Path) -> None:
    code, out, err = typed("evaluate sl --threat linf:0.0001 --attacks fgsm --images 8 --gallery 2")
    assert (code, "gallery: no image was broken" in out) == (0, True), err
    assert not list((runs / "sl" / "evaluations" / "linf-0.0001").rglob("gallery.png"))
