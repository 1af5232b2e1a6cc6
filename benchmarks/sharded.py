"""AutoAttack over two Ray workers against one single-threaded process: the same matrix, how much sooner.

``python benchmarks/sharded.py``. The cluster's start-up (Ray, torch and the model in every worker) is timed
apart: it does not grow with the work. Every repetition evaluates a fresh copy of the run; which of the two
comes first alternates.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import bar, machine, parse, spread
from reinforced.attacks.threat import BUDGETS
from reinforced.studies.cluster import connected
from reinforced.studies.evaluations import Plan, evaluate_subject
from reinforced.studies.shards import Asked, Workers
from reinforced.studies.subjects import Source, load_subject
from reinforced.studies.sweep.shares import Share
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe

WORKERS = 2
CPU = torch.device("cpu")
THREAT = BUDGETS["digits"][0]


def nobody(attack: str, chunk: int, broken: int) -> None:
    """Tell nobody."""


class Measured:
    """Copies of one trained run, evaluated in one process or by workers."""

    def __init__(self, folder: Path, attacks: tuple[str, ...], images: int) -> None:
        self.folder, self.attacks, self.source = folder, attacks, Source(images=images)
        self.images = images
        self.hashes: set[str] = set()
        self.copies = 0
        recipe = load_recipe("quickstart/sl-adv", overrides=["phases.0.epochs=10", "probe=null"])
        train(recipe, folder / "trained", device=CPU)

    def copy(self) -> Path:
        self.copies += 1
        run = self.folder / f"run{self.copies}"
        shutil.copytree(self.folder / "trained", run)
        return run

    def finish(self, run: Path) -> None:
        subject = load_subject(str(run), self.source, CPU, run)
        plan = Plan(self.attacks, {}, None, 0, False, (1, 1))
        _, found = evaluate_subject(subject, THREAT, plan, nobody)
        assert found is not None
        self.hashes.add(found.matrix_sha256)

    def alone(self) -> float:
        run = self.copy()
        began = time.perf_counter()
        self.finish(run)
        return time.perf_counter() - began

    def shared(self, ray: Any) -> tuple[float, float]:
        """Seconds of start-up of the workers, and of the evaluation."""
        run = self.copy()
        asked = Asked(
            (str(run),), (), None, self.source, self.attacks, 0, False, None, run, "cpu", Path.cwd()
        )
        began = time.perf_counter()
        workers = Workers(ray, asked, Share(WORKERS, 1, 0))
        ready = time.perf_counter()
        workers.work(str(run), THREAT, self.images, nobody)
        self.finish(run)
        done = time.perf_counter()
        del workers  # the actors end, and their cores are free for the next
        return ready - began, done - ready


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256, help="64 a chunk; a multiple of 128 is fair")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--attacks", nargs="+", default=["autoattack"])
    options = parse(parser)
    torch.set_num_threads(1)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        measured = Measured(Path(folder), tuple(options.attacks), options.images)
        began = time.perf_counter()
        with connected("local", WORKERS) as ray:
            cluster = time.perf_counter() - began
            starts: list[float] = []
            alone: list[float] = []
            shared: list[float] = []

            def by_workers() -> None:
                start, seconds = measured.shared(ray)
                starts.append(start)
                shared.append(seconds)

            def by_one() -> None:
                alone.append(measured.alone())

            pair: list[Callable[[], None]] = [by_workers, by_one]
            for repetition in range(options.repetitions):
                for measure in pair if repetition % 2 else reversed(pair):
                    measure()
    ratios = [one / two for one, two in zip(alone, shared, strict=True)]
    print(f"data: the first {options.images} test images of digits, {THREAT}, {', '.join(options.attacks)}\n")
    print("| what | median [range] |")
    print("| --- | --- |")
    print(f"| seconds, one process, one thread | {spread(alone)} |")
    print(f"| seconds, {WORKERS} Ray workers of one thread, merging included | {spread(shared)} |")
    print(f"| times as fast, pair by pair | {spread(ratios)} |")
    print(f"| seconds of start-up apart: the cluster, then the workers | {cluster:.3g}, {spread(starts)} |")
    print(f"| different matrix hashes | {len(measured.hashes)} ({min(measured.hashes)[:16]}) |")
    bar("sharded_matrix_hashes", len(measured.hashes), "==1", len(measured.hashes) == 1)
    speedup = sorted(ratios)[len(ratios) // 2]
    bar("sharded_times_as_fast", speedup, ">=1.7", speedup >= 1.7, ratios)


if __name__ == "__main__":
    main()
