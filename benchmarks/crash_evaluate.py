"""Kill `reinforced evaluate` at random moments, start it again: for `crash.py --what evaluate`.

A small network is trained on digits, then every attack of :data:`ATTACKS` runs on all test images, five
chunks each. Kill moments are seeded draws over the time after the process has asked the model for its first
gradient (it says so); some wait for a half-written file (`*.part`) and kill then. A run that finishes before
all kills are spent counts, is verified, and the next begins.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from common import bar, machine, spread
from reinforced.models.tiny import tiny

RECIPE = """
schema: 1
data: {source: digits, augment: {translate: 0.1}}
model: {name: "crash_evaluate:network", normalize: digits}
batch_size: 64
optimizer: {kind: adamw, lr: 3.0e-3}
precision: float32
phases:
  - {epochs: 5, objective: {kind: cross_entropy}}
"""
ATTACKS = (
    "fgsm",
    "pgd(steps=10)",
    "pgd(steps=10,loss=margin,keep=strongest)",
    "mifgsm(steps=10)",
    "apgd(steps=10)",
    "fmn(steps=10)",
    "random_search(samples=20)",
    "square(queries=20)",
)
EVALUATING = "crash_evaluate.py: evaluating"


class _Announced(nn.Module):
    """Says on standard error when the process first asks for an image's gradient."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.announced = False

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad and not self.announced:
            self.announced = True
            print(EVALUATING, file=sys.stderr, flush=True)
        logits: Tensor = self.network(x)
        return logits


def network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """What the recipe's ``crash_evaluate:network`` is."""
    return _Announced(tiny(shape, classes))


@dataclass
class Tally:
    """What happened over all runs."""

    inside: int = 0  # SIGKILLs that hit an evaluating process
    beside_part: int = 0  # of them, how many left a half-written file
    delays: list[float] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    unverified: list[str] = field(default_factory=list)
    examples: int = 0


class Runs:
    """Copies of one trained run, each evaluated by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
        recipe = folder / "model.yaml"
        recipe.write_text(RECIPE)
        self.trained = folder / "trained"
        self.finish(self.start("train", str(recipe), "--run", str(self.trained)))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "reinforced", *arguments, "--device", "cpu"],
            env=self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> None:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(map(str, process.args[2:4]))} failed: {said}")  # type: ignore[index]

    def evaluate(self, name: str) -> subprocess.Popen[str]:
        """Begin or go on with the evaluation of a copy; returns at the first gradient, or at the end."""
        run = self.folder / name
        if not run.is_dir():
            shutil.copytree(self.trained, run)
        process = self.start("evaluate", str(run), "--threat", "digits", "--all", "--attacks", *ATTACKS)
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            if EVALUATING in line:
                return process
            said.append(line)
        if process.wait():
            raise SystemExit(f"evaluate failed: {''.join(said)}")
        return process

    def results(self, name: str) -> Path:
        (folder,) = (self.folder / name / "evaluations").glob("*/*")
        return folder

    def parts(self, name: str) -> list[Path]:
        return list((self.folder / name).glob("evaluations/**/*.part"))

    def verified(self, name: str, tally: Tally) -> None:
        """Note the finished record, its timing aside, and whether `reinforced verify` lets it pass."""
        folder = self.results(name)
        tally.records.append(without_seconds(json.loads((folder / "evaluation.json").read_text())))
        process = self.start("verify", str(folder))
        _, said = process.communicate()
        if process.returncode:
            tally.unverified.append(f"{name}: exit {process.returncode}, {said.strip()[-200:]}")
            return
        tally.examples += int(json.loads((folder / "verification.json").read_text())["examples"])


def without_seconds(record: dict[str, Any]) -> dict[str, Any]:
    attacks = [{k: v for k, v in attack.items() if k != "seconds"} for attack in record["attacks"]]
    return {**record, "attacks": attacks}


def strike(runs: Runs, name: str, beside: bool, delay: float, tally: Tally) -> bool:
    """Begin or go on, wait, kill; False if the evaluation ended first."""
    process = runs.evaluate(name)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        deadline = time.monotonic() + 5
        before = len(runs.parts(name))
        while beside and time.monotonic() < deadline and process.poll() is None:
            if len(runs.parts(name)) > before:
                break
        process.send_signal(signal.SIGKILL)
    else:
        before = 0
    runs_on = process.returncode is None
    _, said = process.communicate()
    if process.returncode == -signal.SIGKILL and runs_on:
        tally.inside += 1
        tally.delays.append(delay)
        tally.beside_part += len(runs.parts(name)) > before
        return True
    if process.returncode:
        raise SystemExit(f"evaluate failed: {said}")
    return False


def crash_evaluate(kills: int, seed: int) -> None:
    """Spend the kills, finish, compare with an uninterrupted evaluation, report."""
    rng = random.Random(seed)
    tally = Tally()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder))
        process = runs.evaluate("uninterrupted")
        began = time.monotonic()
        runs.finish(process)
        seconds = time.monotonic() - began
        runs.verified("uninterrupted", tally)
        chunks = len(list(runs.results("uninterrupted").glob("*/chunk-*.npz")))
        print(
            f"data: digits; {chunks} chunks of {len(ATTACKS)} attacks in {seconds:.1f} s uninterrupted, one "
            f"thread; kills up to {seconds / 4:.1f} s after a process's first gradient, seed {seed}\n"
        )
        number = left = 0
        actions = [True] * round(0.3 * kills) + [False] * (kills - round(0.3 * kills))
        rng.shuffle(actions)

        def finish() -> None:
            nonlocal number, left
            runs.finish(runs.evaluate(f"run{number}"))
            runs.verified(f"run{number}", tally)
            left += len(runs.parts(f"run{number}"))
            number += 1

        for beside in actions:
            while not strike(runs, f"run{number}", beside, rng.uniform(0, seconds / 4), tally):
                finish()
        finish()
    report(kills, tally, left)


def report(kills: int, tally: Tally, left: int) -> None:
    expected, *found = tally.records
    hashes = {record["matrix_sha256"] for record in tally.records}
    same = sum(record == expected for record in found)
    print("| what | count |")
    print("| --- | --- |")
    print(f"| SIGKILLs inside an evaluation | {tally.inside} |")
    print(f"| of them beside a half-written file | {tally.beside_part} |")
    print(f"| seconds after the first gradient, median [range] | {spread(tally.delays)} |")
    print(f"| evaluations finished after kills | {len(found)} |")
    print(f"| their records equal to the uninterrupted one's, timing aside | {same} |")
    print(
        f"| different matrix hashes, the uninterrupted one's included | {len(hashes)} ({min(hashes)[:16]}) |"
    )
    print(f"| adversarial examples verified over all evaluations | {tally.examples} |")
    print(f"| half-written files that stay beside finished ones | {left} |")
    for fault in tally.unverified:
        print(f"  {fault}")
    bar("crash_evaluate_matrix_hashes", len(hashes), "==1", len(hashes) == 1)
    bar("crash_evaluate_kills_inside", tally.inside, f">={kills}", tally.inside >= kills)
    other = len(found) - same
    bar("crash_evaluate_records_with_other_contents", other, "==0", other == 0)
    bar("crash_evaluate_not_verified", len(tally.unverified), "==0", not tally.unverified)
