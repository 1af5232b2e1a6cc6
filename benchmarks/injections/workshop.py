"""A small run with everything a run can hold, copies of it to be damaged, and what its commands end with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from injections.commands import Said, call, forked
from reinforced.errors import ReinforcedError
from reinforced.studies.sweep.table import identity
from reinforced.training.checkpoint import weights_hash

RECIPE = """
schema: 1
data: {source: digits, augment: {translate: 0.1}}
model: {name: tiny, normalize: digits}
batch_size: 64
optimizer: {kind: adamw, lr: 3.0e-3}
averaging: {kind: ema, decay: 0.9}
precision: float32
keep_every: 1
phases:
  - epochs: 3
    objective: {kind: cross_entropy}
    adversary: {kind: fgsm, epsilon: 0.15}
"""
STUDY = """
schema: 1
overrides: {phases.0.epochs: 1}
entries: [{recipe: quickstart/sl}]
evaluate: {threats: ["linf:0.15"], attacks: [fgsm], images: 64}
diagnose: {claim: "pgd@linf:0.5", budget: quick, images: 128}
"""
CPU = ("--device", "cpu")
CLAIM = ("--claim", "fgsm@linf:0.15", "--budget", "quick", "--images", "64")
ATTACKS = ("--threat", "linf:0.15", "--images", "128", "--attacks", "fgsm", "pgd(steps=5)")


def train(run: Path) -> tuple[object, ...]:
    return ("train", run.parent / "recipe.yaml", "--run", run, *CPU)


def evaluate(run: Path) -> tuple[object, ...]:
    return ("evaluate", run, *ATTACKS, *CPU)


def diagnose(run: Path) -> tuple[object, ...]:
    return ("diagnose", run, *CLAIM, *CPU)


def report(run: Path) -> tuple[object, ...]:
    return ("report", run, "-o", run.parent / f"{run.name}-report.html")


def sweep(folder: Path) -> tuple[object, ...]:
    return ("sweep", folder.parent / "study.yaml", "--out", folder, "--workers", "1", *CPU)


def trained(run: Path) -> str:
    return weights_hash(run / "checkpoints" / "last.safetensors")


def evaluated(run: Path) -> str:
    (file,) = run.glob("evaluations/*/*/evaluation.json")
    return str(json.loads(file.read_text())["matrix_sha256"])


def diagnosed(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "verdict.json").read_text())
    return found


def reported(run: Path) -> list[str]:
    """Its pieces: figures are drawn from the records alone, so their names and tables must be the same."""
    folder = run.parent / f"{run.name}-report"
    assert (run.parent / f"{run.name}-report.html").read_text().rstrip().endswith("</html>")
    return sorted(path.name for path in folder.iterdir())


def swept(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "sweep.parquet").to_pylist()
    return identity(rows)


@dataclass(frozen=True)
class Job:
    """A command with a result, of which there is only one."""

    name: str
    command: Callable[[Path], tuple[object, ...]]
    result: Callable[[Path], Any]


TRAIN = Job("train", train, trained)
EVALUATE = Job("evaluate", evaluate, evaluated)
DIAGNOSE = Job("diagnose", diagnose, diagnosed)
REPORT = Job("report", report, reported)
SWEEP = Job("sweep", sweep, swept)


@dataclass
class Workshop:
    """Templates below ``root``: a ``trained`` run, an ``examined`` one, and a ``sweep``."""

    root: Path
    expected: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def build(self, *, with_sweep: bool) -> None:
        (self.root / "recipe.yaml").write_text(RECIPE)
        (self.root / "study.yaml").write_text(STUDY)
        run = self.root / "template"
        self._finish(TRAIN, run)
        shutil.copytree(run, self.root / "trained")
        self._finish(EVALUATE, run)
        (folder,) = run.glob("evaluations/*/*")
        self._must(call("verify", folder, *CPU), "verify")
        self._finish(DIAGNOSE, run)
        self._finish(REPORT, run)
        run.rename(self.root / "examined")
        if with_sweep:
            self._finish(SWEEP, self.root / "sweep")

    def copy(self, template: str = "examined", place: Path | None = None) -> Path:
        """A fresh copy in a folder of its own, beside the recipe and the study."""
        self.number += 1
        folder = (place or self.root) / f"copy{self.number}"
        folder.mkdir(parents=True)
        for name in ("recipe.yaml", "study.yaml"):
            shutil.copy(self.root / name, folder / name)
        run = folder / "template"
        if template:
            shutil.copytree(self.root / template, run)
        return run

    def discard(self, run: Path) -> None:
        shutil.rmtree(run.parent)

    def same(self, job: Job, run: Path) -> str:
        """What is wrong with a result; empty if it is what an undisturbed command gives."""
        try:
            found = job.result(run)
        except (ReinforcedError, OSError, ValueError) as error:
            return f"no result of {job.name}: {error}"
        return "" if found == self.expected[job.name] else f"another result of {job.name}"

    def _finish(self, job: Job, run: Path) -> None:
        # A sweep measures with several threads: done here, it would leave a pool that later forks wait for.
        said = forked(*job.command(run)) if job is SWEEP else call(*job.command(run))
        self._must(said, job.name)
        self.expected[job.name] = job.result(run)

    def _must(self, said: Said, name: str) -> None:
        if said.code:
            raise SystemExit(f"{name} of the undisturbed run: {said}")
