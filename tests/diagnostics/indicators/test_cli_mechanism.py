"""``reinforced indicators`` and ``landscape`` as a user types them, on a small run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reinforced.diagnostics.indicators.base import SUMMARY
from reinforced.diagnostics.indicators.measure import FIGURES
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from tests.typed import Typed, TypedIn


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    recipe = load_recipe("quickstart/sl", overrides=["phases.0.epochs=1"])
    train(recipe, folder / "sl", device=torch.device("cpu"))
    return folder


@pytest.fixture
def typed(runs: Path, typed_at: TypedIn) -> Typed:
    return typed_at(runs)


def test_indicators_side_by_side(typed: Typed, runs: Path) -> None:
    code, out, _ = typed("indicators sl sl --threat linf:0.15 --images 40 --steps 3 --batch 16")
    assert code == 0
    for row in (
        "gradient_norm(margin)",
        "curvature(ce)",
        "path_cosine",
        "entropy, clean, right",
        "calibration",
    ):
        assert row in out
    file = runs / "sl" / "diagnostics" / "indicators" / "linf-0.15.json"
    record = json.loads(file.read_text())
    assert record["threat"] == "linf:0.15"
    assert record["images"] == 40
    about = {"unit", "axes", "shape", "note", "forwards", "gradients"}
    figures = {name: set(one) - about - set(SUMMARY) for name, one in record["indicators"].items()}
    assert figures == {name: set(own) for name, own in FIGURES.items()}
    assert all(set(SUMMARY) <= set(one) for one in record["indicators"].values())
    assert record["indicators"]["path_norm"]["shape"] == [3, 40]
    assert len(record["indicators"]["path_cosine"]["by_step"]) == 2
    assert sum(row["count"] for row in record["entropy"] if row["images"] == "clean") == 40
    assert len(record["calibration"]["adversarial"]["bins"]) == 15
    with np.load(file.with_suffix(".npz")) as stored:
        assert stored["gradient_norm(ce)"].shape == (40,)
        assert stored["entropy"].shape == stored["right"].shape == (2, 40)
        assert stored["gradient_norm(ce)"].mean() == pytest.approx(
            record["indicators"]["gradient_norm(ce)"]["mean"]
        )


def test_landscape_writes_what_it_says(typed: Typed, runs: Path) -> None:
    code, out, _ = typed("landscape sl --image 3 --threat linf:0.15 --size 60 --adaptive -o drawn")
    assert code == 0
    assert "epsilon along the adversarial axis" in out
    folder = runs / "drawn"
    names = {"landscape.npz", "landscape.json", "loss.png", "decision.png", "slices.csv"}
    assert {path.name for path in folder.iterdir()} == names
    record = json.loads((folder / "landscape.json").read_text())
    assert record["image"] == 3
    assert record["axes"]["range"] == [-3, 3]
    assert record["forwards"] <= 0.15 * 3600
    assert sum(record["regions"].values()) == pytest.approx(1)
    with np.load(folder / "landscape.npz") as stored:
        assert stored["loss"].shape == stored["decision"].shape == (60, 60)
        assert record["evaluated"] == stored["evaluated"].sum()
    rows = (folder / "slices.csv").read_text().splitlines()
    assert rows[0] == "axis,epsilons,loss,decision"
    assert len(rows) == 1 + 2 * 121


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("landscape sl --image 300 -o drawn", "test images 0 to 299"),
        ("landscape sl --loss cee -o drawn", "did you mean 'ce'"),
        ("landscape sl --threat linf:0 -o drawn", "no plane"),
        ("landscape --threat linf:0 sl -o drawn", "no plane"),
        ("indicators elsewhere", "no run directory"),
    ],
)
def test_mistakes_are_one_line(typed: Typed, line: str, said: str) -> None:
    code, _, err = typed(line)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
