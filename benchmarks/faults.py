"""Inject faults into every command, and count what is lost, what shows a traceback, what is wrongly believed.

    python benchmarks/faults.py            # all
    python benchmarks/faults.py --quick    # a fraction
    python benchmarks/faults.py --only damage recipes

A fault is met well if the command ends with 0, or with 2 (143 after SIGTERM) and one line that says what is
wrong; if what was finished before is still there, and the same command goes on to the very same result (hash
of weights, of outcomes, verdict); and if no cut file passes for a whole one. Commands run in this process or
in forks of it: importing torch afresh would take longer than most faults.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a fork of a process with a pool of threads may hang

import torch

from common import bar, machine, parse
from injections.damage import Damage
from injections.fuzz import fuzz_data, fuzz_recipes
from injections.interruptions import (
    dying_worker,
    interrupt,
    interrupt_calibration,
    nan_weights,
    two_writers,
)
from injections.places import closed_outputs, full_disks, read_only
from injections.tally import Tally
from injections.workshop import Workshop

KINDS = ("damage", "signals", "disk", "read-only", "writers", "nan", "recipes", "data")
NEED_RUNS = KINDS[:-2]


class Faults:
    """All kinds, some or all of each."""

    def __init__(self, shop: Workshop, quick: bool) -> None:
        self.shop, self.quick, self.tally = shop, quick, Tally()
        self.told: list[str] = []

    def damage(self) -> None:
        damage = Damage(self.shop, self.tally, seed=0)
        damage.run(share=6 if self.quick else 1)
        if not self.quick:
            damage.sweep()
        self.told.append(
            f"bits flipped in evaluation.json or subject.json that `verify` let pass: {damage.unnoticed} "
            "(a digit of a figure that it does not recompute)"
        )

    def signals(self) -> None:
        names = ("train", "evaluate") if self.quick else ("train", "evaluate", "diagnose", "report")
        interrupt(self.shop, self.tally, names, (1,) if self.quick else (1, 3))
        dying_worker(self.shop, self.tally)
        if not self.quick:
            interrupt(self.shop, self.tally, ("sweep",), (1,))
            interrupt_calibration(self.shop, self.tally)

    def disk(self) -> None:
        sizes = (0,) if self.quick else (0, 16 << 10, 48 << 10)
        kind = full_disks(self.shop, self.tally, sizes)
        closed_outputs(self.shop, self.tally)
        self.told.append(f"full disk: {kind}, {', '.join(map(str, sizes))} bytes left; /dev/full as output")

    def read_only(self) -> None:
        read_only(self.shop, self.tally)

    def writers(self) -> None:
        names = ("train", "evaluate") if self.quick else ("train", "evaluate", "diagnose", "report", "sweep")
        two_writers(self.shop, self.tally, names)

    def nan(self) -> None:
        nan_weights(self.shop, self.tally)

    def recipes(self) -> None:
        count = 100 if self.quick else 1000
        valid = fuzz_recipes(self.shop.root / "recipes", count, self.tally)
        self.told.append(
            f"fuzzed recipes: {valid} of {count} were valid; of each, training was set up on digits"
        )

    def data(self) -> None:
        count = 30 if self.quick else 300
        used = fuzz_data(self.shop.root / "data", count, self.tally)
        self.told.append(f"fuzzed data files: {used} of {count} could be used")

    def inject(self, kind: str) -> None:
        kinds: dict[str, Callable[[], None]] = {name: getattr(self, name.replace("-", "_")) for name in KINDS}
        kinds[kind]()


def report(faults: Faults, seconds: float) -> int:
    print("| fault | injected | refused with 2 | lost | tracebacks | accepted partial |")
    print("| --- | --- | --- | --- | --- | --- |")
    for kind, count in faults.tally.kinds.items():
        figures = (count.injected, count.refused, count.lost, count.tracebacks, count.accepted)
        print(f"| {kind} | {' | '.join(map(str, figures))} |")
    for line in faults.told:
        print(line)
    for line in faults.tally.missed:
        print(f"not injected, for the command had ended before: {line}")
    print(f"{seconds:.0f} s")
    every = faults.tally.kinds.values()
    for name in ("injected", "lost", "tracebacks", "accepted"):
        total = sum(getattr(count, name) for count in every)
        goal, met = (">=1", total > 0) if name == "injected" else ("==0", total == 0)
        bar(f"faults_{name}", total, goal, met)
    return int(bool(faults.tally.wrong))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a fraction of each kind")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=KINDS, help="these kinds")
    options = parse(parser)
    torch.set_num_threads(1)
    print(machine(), flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / "cache")
        shop = Workshop(Path(folder))
        faults = Faults(shop, options.quick)
        if set(options.only) & set(NEED_RUNS):
            with_sweep = not options.quick and bool({"damage", "signals", "writers"} & set(options.only))
            shop.build(with_sweep=with_sweep)
        for kind in options.only:
            faults.inject(kind)
            print(f"  {kind}: {time.monotonic() - began:.0f} s", flush=True)
    return report(faults, time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
