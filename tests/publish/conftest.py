"""A small trained run, and evaluations made up as records."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from reinforced.evaluation.identity import model_sha256
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.run import load_model
from tests.typed import Typed, TypedIn

Evaluated = Callable[..., Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("trained") / "sl"
    recipe = load_recipe("quickstart/sl", overrides=["phases.0.epochs=1", "data.limit=192"])
    train(recipe, run, device=torch.device("cpu"))
    return run


@pytest.fixture(scope="session")
def weights(trained: Path) -> str:
    return model_sha256(load_model(trained))


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """A folder with the trained run in it, called ``sl``."""
    shutil.copytree(trained, tmp_path / "runs" / "sl")
    return tmp_path / "runs"


@pytest.fixture
def rewritten(runs: Path) -> Callable[..., Path]:
    """Gives the run another recipe, as if it had begun with it."""
    run = runs / "sl"

    def rewrite(**changes: dict[str, Any] | str) -> Path:
        recipe = yaml.safe_load((run / "recipe.yaml").read_text())
        for key, value in changes.items():
            recipe[key] = {**recipe[key], **value} if isinstance(value, dict) else value
        (run / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        facts = json.loads((run / "environment.json").read_text())
        del facts["recipe_sha256"]
        (run / "environment.json").write_text(json.dumps(facts))
        return run

    return rewrite


@pytest.fixture
def evaluated(runs: Path, weights: str) -> Evaluated:
    """Puts an evaluation into a run, which is made where it is missing."""

    def put(
        name: str = "sl",
        folder: str = "standard-100",
        *,
        robust: float = 0.5,
        sha256: str = weights,
        check: bool | None = None,
        **others: Any,
    ) -> Path:
        run = runs / name
        if not run.exists():
            shutil.copytree(runs / "sl", run, ignore=shutil.ignore_patterns("evaluations", "checkpoints"))
        record = {
            "threat": "linf:0.15",
            "images": 100,
            "clean_accuracy": 0.9,
            "robust_accuracy": robust,
            "interval": [robust - 0.1, robust + 0.1],
            "autoattack_accuracy": robust,
            "attacks": [{"name": "autoattack", "accuracy": robust, "flags": []}],
            "as_released": [],
            "incomplete": False,
            "control": None,
            "matrix_sha256": "m1",
            "setup": {"model_sha256": sha256, "data_sha256": "d1"},
            **others,
        }
        place = run / "evaluations" / str(record["threat"]).replace(":", "-").replace("/", "-") / folder
        place.mkdir(parents=True)
        (place / "evaluation.json").write_text(json.dumps(record))
        (place / "subject.json").write_text(json.dumps({"checkpoint": "last", "data": None}))
        if check is not None:
            verification = {"holds": check, "matrix_sha256": "m1"}
            (place / "verification.json").write_text(json.dumps(verification))
        return place

    return put


@pytest.fixture
def judged(runs: Path, weights: str) -> Callable[..., None]:
    """Puts a verdict into the run ``sl``."""

    def put(claim: str, label: str, sha256: str = weights) -> None:
        folder = runs / "sl" / "diagnostics" / "one"
        folder.mkdir(parents=True)
        (folder / "setup.json").write_text(json.dumps({"model_sha256": sha256}))
        verdict = {
            "claim": claim,
            "label": label,
            "paragraph": f"{label.upper()}. The claim does not stand.",
            "images": 300,
            "budget": "quick",
            "not_tested": ["attacks made for this very defence"],
            "folder": "one",
        }
        (runs / "sl" / "verdict.json").write_text(json.dumps(verdict))

    return put


@pytest.fixture
def typed(runs: Path, typed_at: TypedIn) -> Typed:
    return typed_at(runs.parent)
