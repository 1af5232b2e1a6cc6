from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from reinforced.training.run import SUMMARY
from tests.studies.sweeping import Here, small
from tests.studies.tiny_study import run_study

RECIPE: dict[str, Any] = {
    "name": "made/sl",
    "data": {"source": "digits"},
    "model": {"name": "tiny"},
    "phases": [{"epochs": 4}],
}
Make = Callable[..., Path]


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Recipe fields replaced, nested ones one by one."""
    return old | {
        key: merged(old[key], value) if isinstance(value, dict) and isinstance(old.get(key), dict) else value
        for key, value in new.items()
    }


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """Writes a run directory by hand: validation accuracies an epoch, so many passes each."""

    def write(
        folder: str,
        validation: Sequence[float],
        *,
        robust: Sequence[float | None] | None = None,
        passes: float = 300,
        finished: bool = True,
        sha256: str = "images",
        rows: dict[int, dict[str, Any]] | None = None,
        **recipe: Any,
    ) -> Path:
        run = tmp_path / folder
        run.mkdir()
        (run / "recipe.yaml").write_text(yaml.safe_dump(merged(RECIPE, recipe)))
        (run / "environment.json").write_text(json.dumps({"data_sha256": sha256, "device": "cpu"}))
        lines = []
        for number, accuracy in enumerate(validation, 1):
            row: dict[str, Any] = {
                "epoch": number,
                "train_accuracy": 1.0,
                "validation_accuracy": accuracy,
                "passes": passes * number,
                "flops": 1000.0 * number,
                "seconds": 2.0 * number,
            }
            if robust is not None and robust[number - 1] is not None:
                row["robust_validation_accuracy"] = robust[number - 1]
            lines.append(json.dumps(row | (rows or {}).get(number, {})) + "\n")
        if lines:
            (run / "metrics.jsonl").write_text("".join(lines))
        if finished:
            figures = {**dict.fromkeys(SUMMARY, 0), "epochs": len(lines), "test_accuracy": 0.75}
            (run / "summary.json").write_text(json.dumps({**figures, "stopped_early": False}))
        return run

    return write


@pytest.fixture
def add_evaluation() -> Callable[..., Path]:
    """Writes an evaluation into a run by hand, as if of weights that were not copied along."""

    def write(
        run: Path,
        robust: Sequence[bool],
        *,
        clean: Sequence[bool] | None = None,
        threat: str = "linf:0.1",
        checkpoint: str = "last",
        folder: str = "",
        attacks: Sequence[str] = ("fgsm",),
        data_sha256: str = "test images",
        **record: Any,
    ) -> Path:
        path = run / "evaluations" / threat.replace(":", "-") / (folder or f"quick-{checkpoint}")
        path.mkdir(parents=True)
        right = list(clean) if clean is not None else [True] * len(robust)
        table = {"image": range(len(robust)), "clean_correct": right, "robust": list(robust)}
        pq.write_table(pa.table(table), path / "outcomes.parquet")
        values = {
            "threat": threat,
            "images": len(robust),
            "clean_accuracy": sum(right) / len(right),
            "robust_accuracy": sum(robust) / len(robust),
            "interval": [0.0, 1.0],
            "attacks": [{"name": name, "accuracy": None} for name in attacks],
            "matrix_sha256": "outcomes",
            "autoattack_accuracy": None,
            "as_released": [],
            "notes": [],
            "incomplete": False,
            "control": None,
            "setup": {
                "attacks": list(attacks),
                "seed": 0,
                "chunk": 64,
                "run_all": False,
                "draws": 1,
                "model_sha256": "weights",
                "data_sha256": data_sha256,
                "sha256": "setup",
                "chunk_sha256": {name: ["chunk"] for name in attacks},
            },
        }
        (path / "evaluation.json").write_text(json.dumps(values | record))
        (path / "subject.json").write_text(json.dumps({"checkpoint": checkpoint}))
        return path

    return write


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep whose second attempt had failed."""
    folder = tmp_path_factory.mktemp("sweep")
    pool = Here({2: lambda: "the worker was killed by SIGKILL"})
    rows = small(folder).run(pool)
    assert pool.started == ["quickstart-sl-seed0", "quickstart-sl-seed1", "quickstart-sl-seed1"]
    assert [row["state"] for row in rows] == ["finished", "finished"]
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished sweep, to be changed."""
    shutil.copytree(finished / "out", tmp_path / "out")
    return tmp_path


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished study: its runs and its record."""
    folder = tmp_path_factory.mktemp("study")
    outcome = run_study(folder / "runs", folder / "study")
    assert (outcome.busy, outcome.failed) == ((), ())
    return folder
