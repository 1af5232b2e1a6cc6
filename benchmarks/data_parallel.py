"""Two processes under torchrun against one: how far apart their weights are after 50 updates.

Each case is trained on digits with SGD, in float32, once alone and once by `torchrun --nproc-per-node 2` over
gloo. The goal is for networks without batch norm and dropout: batch norm normalises each process's share by
itself and dropout draws in each process by itself, so theirs are shown and not held to it.

    OMP_NUM_THREADS=1 python benchmarks/data_parallel.py
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common import bar, machine, parse
from reinforced.training.checkpoint import load_checkpoint
from reinforced.training.loop import train
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import validate_recipe
from reinforced.training.run import RunDirectory

GOAL, BATCH = 1e-5, 64
PLAIN = "mlp:tanh-64-64"
REINFORCE = {"kind": "reinforce", "exploration": 0.1}
PGD = {"kind": "pgd", "epsilon": 0.15, "steps": 3}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "cross_entropy": (PLAIN, {}),
    "reinforce": (PLAIN, {"objective": REINFORCE}),
    "input_gradient": (PLAIN, {"regularisers": [{"kind": "input_gradient", "strength": 0.1}]}),
    "pgd": (PLAIN, {"adversary": PGD}),
    "reinforce_pgd": (PLAIN, {"objective": REINFORCE, "adversary": PGD}),
    "batch_norm": ("data_parallel:batch_norm", {}),
    "dropout": ("data_parallel:dropout", {}),
}
HELD = ("cross_entropy", "reinforce", "input_gradient", "pgd", "reinforce_pgd")


def batch_norm(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """A convolution, batch norm and a linear layer."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * height * width, classes),
    )  # fmt: skip


def dropout(classes: int, shape: tuple[int, int, int]) -> nn.Module:
    """The same with dropout for batch norm."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25),
        nn.Linear(16 * height * width, classes),
    )  # fmt: skip


def recipe(network: str, phase: dict[str, Any], updates: int) -> Recipe:
    """SGD on digits for so many updates, which a budget counts out."""
    values: dict[str, Any] = {
        "name": "data-parallel",
        "data": {"source": "digits", "augment": {"translate": 0.1}},
        "model": {"name": network},
        "batch_size": BATCH,
        "optimizer": {"kind": "sgd", "lr": 0.2, "momentum": 0.9},
        "phases": [{"epochs": 1, **phase}],
        "precision": "float32",
    }
    passes = validate_recipe(values, "data_parallel").phases[0].passes.total
    return validate_recipe({**values, "budget": {"passes": updates * BATCH * passes}}, "data_parallel")


def train_all(cases: list[str], updates: int, folder: Path) -> None:
    """Every case into a run directory of its name."""
    for name in cases:
        train(recipe(*CASES[name], updates), folder / name, device=torch.device("cpu"))


def torchrun(cases: list[str], updates: int, folder: Path) -> None:
    """:func:`train_all` in two processes.

    Raises:
        subprocess.CalledProcessError: they failed, and have said why.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    worker = [__file__, "--updates", str(updates), "--worker", str(folder), "--cases", *cases]
    subprocess.run([*launcher, *worker], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)


def apart(one: Path, two: Path) -> tuple[float, float]:
    """The largest difference of a weight between two runs, and the largest weight."""
    first, second = (load_checkpoint(RunDirectory(run).weights("last"))[0] for run in (one, two))
    weights = [name for name in first if name.startswith("network.") and first[name].is_floating_point()]
    differences = [(first[name] - second[name]).abs().max().item() for name in weights]
    return max(differences), max(first[name].abs().max().item() for name in weights)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--updates", type=int, default=50)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--worker", type=Path, metavar="FOLDER", help="be one of the processes of torchrun")
    options = parse(parser)
    torch.set_num_threads(1)
    if options.worker is not None:
        train_all(options.cases, options.updates, options.worker)
        return
    print(machine())
    print(f"data: digits, shifted by up to a pixel; SGD, {options.updates} updates of {BATCH} images\n")
    print("| case | network | largest difference | largest weight |")
    print("| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as name:
        one, two = Path(name) / "one", Path(name) / "two"
        torchrun(options.cases, options.updates, two)
        train_all(options.cases, options.updates, one)
        found = {case: apart(one / case, two / case) for case in options.cases}
    for case, (difference, largest) in found.items():
        network = CASES[case][0].removeprefix("data_parallel:")
        print(f"| {case} | {network} | {difference:.3g} | {largest:.3g} |", flush=True)
    for case, (difference, _) in found.items():
        if case in HELD:
            bar(f"data_parallel_{case}", difference, f"<{GOAL:g}", difference < GOAL)


if __name__ == "__main__":
    main()
