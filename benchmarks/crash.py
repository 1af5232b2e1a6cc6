"""Kill training at random moments, resume it with the same command, compare with an uninterrupted run.

The run holds every kind of state: two phases (cross-entropy, then REINFORCE on a schedule), dropout, batch
norm, augmentation and an exponential moving average, on digits. Kill moments are seeded draws over the time
after the process has begun to train (it says so by its first forward pass); some wait for a half-written file
(`*.part`) and kill then. Between the kills SIGTERM and SIGINT stop it too, in the midst of an epoch. A run
that finishes before all kills are spent counts, and the next begins. `--what evaluate` kills evaluations
instead (crash_evaluate.py).

    python benchmarks/crash.py --kills 20
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common import bar, machine, parse, spread
from crash_evaluate import crash_evaluate
from reinforced.training.checkpoint import load_checkpoint, weights_hash

RECIPE = """
schema: 1
data: {source: digits, augment: {translate: 0.1}}
model: {name: "crash:network", normalize: digits}
batch_size: 32
optimizer: {kind: adamw, lr: 3.0e-3}
gradient_clip: 1
averaging: {kind: ema, decay: 0.99}
precision: float32
phases:
  - {epochs: 12, objective: {kind: cross_entropy}, schedule: {kind: linear, warmup_epochs: 2}}
  - epochs: 13
    objective: {kind: reinforce, exploration: 0.1, samples: 2, baseline: leave_one_out}
    schedule: {kind: cosine}
"""
TRAINING = "crash.py: training"
TIMING = ("images_per_second", "seconds")
SOFT = {"SIGTERM": (signal.SIGTERM, 143), "SIGINT": (signal.SIGINT, 130)}


class _Announced(nn.Module):
    """Says on standard error when the process's first training batch arrives."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.announced = False

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and self.training and not self.announced:
            self.announced = True
            print(TRAINING, file=sys.stderr, flush=True)
        logits: Tensor = self.network(x)
        return logits


def network(shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Convolution, batch norm, dropout: what the recipe's ``crash:network`` is."""
    return _Announced(
        nn.Sequential(
            nn.Conv2d(shape[0], 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            nn.Flatten(),
            nn.Linear(32 * (shape[1] // 2) * (shape[2] // 2), classes),
        )
    )


@dataclass
class Tally:
    """What happened over all runs."""

    inside: int = 0  # SIGKILLs that hit a training process
    beside_part: int = 0  # of them, how many left a half-written file
    parts_left: int = 0  # half-written files found after a kill
    soft: list[str] = field(default_factory=list)  # what was wrong after SIGTERM or SIGINT; empty: nothing
    soft_count: int = 0
    mid_epoch: int = 0  # states saved within an epoch
    delays: list[float] = field(default_factory=list)
    finals: list[tuple[str, list[dict[str, Any]]]] = field(default_factory=list)


class Crash:
    def __init__(self, folder: Path) -> None:
        self.recipe = folder / "crash.yaml"
        self.recipe.write_text(RECIPE)
        path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}

    def start(self, run: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "reinforced", "train", str(self.recipe), "--run", str(run)]
        return subprocess.Popen(
            [*command, "--device", "cpu"],
            env=self.environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )

    def until_training(self, process: subprocess.Popen[str]) -> bool:
        """Wait for the first batch; False if the process ends without one."""
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            if TRAINING in line:
                return True
            said.append(line)
        if process.wait():
            raise SystemExit(f"training failed: {''.join(said)}")
        return False

    def to_the_end(self, run: Path) -> float:
        """Seconds from the first batch to the end."""
        process = self.start(run)
        self.until_training(process)
        began = time.monotonic()
        self.ended(process)
        return time.monotonic() - began

    def ended(self, process: subprocess.Popen[str]) -> None:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(f"training failed: {said}")


def parts(run: Path) -> list[Path]:
    return list(run.glob("**/*.part"))


def result(run: Path) -> tuple[str, list[dict[str, Any]]]:
    """Hash of the final weights, and the metrics without their timing columns."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{key: value for key, value in row.items() if key not in TIMING} for row in rows]
    return weights_hash(run / "checkpoints" / "last.safetensors"), kept


def plan(kills: int, rng: random.Random) -> Iterator[str]:
    """Three in ten kills beside a half-written file; two each of the softer signals."""
    beside = round(0.3 * kills)
    actions = ["kill"] * (kills - beside) + ["kill beside .part"] * beside + list(SOFT) * 2
    rng.shuffle(actions)
    yield from actions


def strike(crash: Crash, run: Path, action: str, delay: float, tally: Tally) -> bool:
    """Start or resume, wait, strike; False if the run ended first."""
    process = crash.start(run)
    if not crash.until_training(process):
        return False
    try:
        process.wait(delay)
        crash.ended(process)
        return False
    except subprocess.TimeoutExpired:
        pass
    if action in SOFT:
        number, code = SOFT[action]
        process.send_signal(number)
        _, said = process.communicate()
        # With its summary written the run is over; on its way out the interpreter has no handler any more.
        if process.returncode == 0 or (run / "summary.json").is_file():
            return False
        tally.soft_count += 1
        if process.returncode != code or "reinforced train --resume" not in said:
            tally.soft.append(f"{action}: exit {process.returncode}, {said.strip()[-200:]}")
        _, values = load_checkpoint(run / "checkpoints" / "state.safetensors")
        tally.mid_epoch += values["place"]["batch"] > 0
        return True
    deadline = time.monotonic() + 5
    while action == "kill beside .part" and time.monotonic() < deadline and process.poll() is None:
        if any(entry.name.endswith(".part") for entry in os.scandir(run / "checkpoints")):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    if process.returncode != -signal.SIGKILL:
        return False
    tally.inside += 1
    tally.delays.append(delay)
    tally.parts_left += len(parts(run))
    tally.beside_part += bool(parts(run))
    return True


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=["train", "evaluate"], default="train")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parse(parser)
    if options.what == "evaluate":
        crash_evaluate(options.kills, options.seed)
        return
    rng = random.Random(options.seed)
    tally = Tally()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        crash = Crash(root)
        seconds = crash.to_the_end(root / "uninterrupted")
        expected = result(root / "uninterrupted")
        epochs = len(expected[1])
        print(
            f"data: digits; {epochs} epochs in {seconds:.1f} s uninterrupted, one thread; "
            f"kills up to {seconds / 4:.1f} s after a process's first batch, seed {options.seed}\n"
        )
        number, left = 0, 0

        def finish() -> None:
            nonlocal left
            run = root / f"run{number}"
            process = crash.start(run)
            crash.until_training(process)
            crash.ended(process)
            left += len(parts(run))
            tally.finals.append(result(run))

        for action in plan(options.kills, rng):
            while not strike(crash, root / f"run{number}", action, rng.uniform(0, seconds / 4), tally):
                finish()
                number += 1
        finish()
    report(options.kills, expected, tally, left)


def report(kills: int, expected: tuple[str, list[dict[str, Any]]], tally: Tally, left: int) -> None:
    hashes = {expected[0], *(final[0] for final in tally.finals)}
    same_metrics = sum(final[1] == expected[1] for final in tally.finals)
    print("| what | count |")
    print("| --- | --- |")
    print(f"| SIGKILLs inside training | {tally.inside} |")
    print(f"| of them beside a half-written file | {tally.beside_part} ({tally.parts_left} files left) |")
    print(f"| seconds after the first batch, median [range] | {spread(tally.delays)} |")
    print(f"| SIGTERMs and SIGINTs | {tally.soft_count}, {tally.mid_epoch} in the midst of an epoch |")
    print(f"| runs finished after kills | {len(tally.finals)} |")
    print(f"| their metrics equal to the uninterrupted run's, timing aside | {same_metrics} |")
    print(
        f"| different final hashes, the uninterrupted run's included | {len(hashes)} ({min(hashes)[:16]}) |"
    )
    print(f"| half-written files after finishing | {left} |")
    for fault in tally.soft:
        print(f"  {fault}")
    bar("crash_final_hashes", len(hashes), "==1", len(hashes) == 1)
    different = len(tally.finals) - same_metrics
    bar("crash_runs_with_other_metrics", different, "==0", different == 0)
    bar("crash_kills_inside_training", tally.inside, f">={kills}", tally.inside >= kills)
    bar("crash_signals_answered_wrongly", len(tally.soft), "==0", not tally.soft)
    bar("crash_part_files_left", left, "==0", left == 0)


if __name__ == "__main__":
    main()
