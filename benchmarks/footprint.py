"""Memory and open files over 2,000 training steps and 200 attack batches, and how soon `--help` is there.

Training goes through `train` (an epoch of 20 steps, with its validation and checkpoints), attacks through
`run_attack` (PGD, a batch a call), each in a process of its own. Growth is the median of the last tenth above
the median of the first after the warm-up, itself a tenth of the whole. A third row, shown but not held to the
bar, attacks in a process that has trained before: training keeps freed memory (`keep_freed_memory`), and the
attack's blocks have yet to settle into it.

    python benchmarks/footprint.py
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from common import bar, machine, parse, spread
from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import ThreatModel
from reinforced.models import build
from reinforced.training.loop import train
from reinforced.training.progress import Silent
from reinforced.training.recipe import Recipe

STEPS_AN_EPOCH, BATCH = 20, 32
RECIPE = {
    "data": {"source": "digits", "limit": STEPS_AN_EPOCH * BATCH, "augment": {"translate": 0.1}},
    "model": {"name": "tiny", "normalize": "digits"},
    "batch_size": BATCH,
    "averaging": {"kind": "ema"},
    "precision": "float32",
}
OBJECTIVE = {"kind": "reinforce", "exploration": 0.1, "samples": 2, "baseline": "leave_one_out"}


@dataclass
class Gauge(Silent):
    """Notes the process's resident memory (MB) and open files, here after each epoch."""

    memory: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def read(self) -> None:
        process = psutil.Process()
        self.memory.append(process.memory_info().rss / 2**20)
        self.files.append(process.num_fds())

    def epoch(self, row: Mapping[str, Any], epochs: int) -> None:  # noqa: ARG002
        self.read()

    def settled(self) -> Gauge:
        """Without the warm-up, the first tenth."""
        start = len(self.memory) // 10
        return Gauge(self.memory[start:], self.files[start:])

    def growth(self) -> tuple[float, int]:
        """MB and files by which the last tenth's median is above the first's, warm-up aside.

        Medians: a reading may find a block that is just about to be freed.
        """
        settled = self.settled()
        tenth = max(1, len(settled.memory) // 10)
        memory = statistics.median(settled.memory[-tenth:]) - statistics.median(settled.memory[:tenth])
        return memory, max(settled.files[-tenth:]) - max(settled.files[:tenth])


def training(steps: int) -> Gauge:
    gauge = Gauge()
    phase = {"epochs": -(-steps // STEPS_AN_EPOCH), "objective": OBJECTIVE}
    recipe = Recipe.model_validate({**RECIPE, "phases": [phase]})
    with tempfile.TemporaryDirectory() as folder:
        train(recipe, Path(folder) / "run", device=torch.device("cpu"), reporter=gauge)
    return gauge


def attacks(batches: int) -> Gauge:
    gauge = Gauge()
    torch.manual_seed(0)
    model = build("tiny", shape=(3, 32, 32), classes=10)
    images = torch.rand(64, 3, 32, 32)
    with torch.no_grad():
        labels = model.eval()(images).argmax(1)
    for batch in range(batches):
        run_attack(
            PGD(steps=5), model, images, labels, ThreatModel("linf", 1 / 255), seed=0, first_chunk=batch
        )
        gauge.read()
    return gauge


def attacks_after_training(batches: int) -> Gauge:
    training(20 * STEPS_AN_EPOCH)
    return attacks(batches)


def apart(measure: Callable[[int], Gauge], count: int) -> Gauge:
    """The gauge of a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(measure, count).result()


def help_seconds() -> list[float]:
    """Wall time of ``reinforced --help``, seven times after one that fills the file cache."""
    command = [str(Path(sys.executable).with_name("reinforced")), "--help"]
    found = []
    for _ in range(8):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        found.append(time.perf_counter() - began)
    return found[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batches", type=int, default=200)
    options = parse(parser)
    print(machine())
    print("data: digits for training, made-up 32x32 images for the attacks\n")
    seconds = help_seconds()
    gauges = {
        f"{options.steps} training steps": apart(training, options.steps),
        f"{options.batches} attack batches": apart(attacks, options.batches),
    }
    held = list(gauges.values())
    gauges[f"{options.batches} attack batches after training"] = apart(
        attacks_after_training, options.batches
    )
    print("| what | readings | MB, median [range] after warm-up | growth MB | open files | growth |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, gauge in gauges.items():
        memory, files = gauge.growth()
        shown = spread(gauge.settled().memory)
        print(f"| {name} | {len(gauge.memory)} | {shown} | {memory:.1f} | {gauge.files[-1]} | {files} |")
    print(f"\n`reinforced --help`: {spread(seconds)} s over 7")
    memory = max(gauge.growth()[0] for gauge in held)
    handles = max(gauge.growth()[1] for gauge in held)
    bar("footprint_rss_growth_mb", memory, "<20", memory < 20)
    bar("footprint_handles_growth", handles, "==0", handles == 0)
    bar("help_seconds", statistics.median(seconds), "<0.6", statistics.median(seconds) < 0.6)


if __name__ == "__main__":
    main()
