"""How many epochs each objective needs to reach 95 % of cross-entropy's final validation accuracy.

One network (cnn6_small), schedule, batch size, augmentation and data for all; each objective takes the best
of one learning-rate grid, chosen on validation images with a seed that is not reported. Accuracy is smoothed
over three epochs; a run that never gets there is censored at its last epoch. Needs real CIFAR-10 as
``parquet:cifar10-jpeg`` under REINFORCED_DATA. Resumable: killed, it goes on with the same command.

    python benchmarks/sample_efficiency.py --runs runs/sample_efficiency --save docs/results
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import bar, machine, parse, spread
from reinforced.files import write_json, write_text

RECIPE = Path(__file__).with_suffix(".yaml")
OBJECTIVES = {
    "cross_entropy": "{kind: cross_entropy}",
    "expected_pg": "{kind: expected_pg}",
    "expected_pg, exploration 0.1": "{kind: expected_pg, exploration: 0.1}",
    "reinforce, no baseline": "{kind: reinforce}",
    "reinforce, leave-one-out of 4": "{kind: reinforce, samples: 4, baseline: leave_one_out}",
    "reinforce, batch coin as released": (
        "{kind: reinforce, exploration: 0.1, coin: batch, log_floor: 1.0e-6}"
    ),
}
RATES = ("3e-4", "1e-3", "3e-3")
PROBE_SEED = 100
TARGET = 0.95


def run_of(runs: Path, objective: str, rate: str, seed: int, epochs: int) -> Path:
    short = objective.replace(",", "").replace(" ", "-")
    return runs / f"{short}-lr{rate}-seed{seed}-epochs{epochs}"


def train(runs: Path, objective: str, rate: str, seed: int, epochs: int) -> None:
    """Train one run to its end in a process of its own, on one core."""
    command = [sys.executable, "-m", "reinforced", "train", str(RECIPE)]
    command += [f"phases.0.objective={OBJECTIVES[objective]}", f"optimizer.lr={rate}", f"seed={seed}"]
    command += [f"phases.0.epochs={epochs}", "--device", "cpu"]
    command += ["--run", str(run_of(runs, objective, rate, seed, epochs))]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
    )
    print((done.stdout or done.stderr).strip().splitlines()[-1], flush=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed")


def accuracies(run: Path) -> list[float]:
    """Validation accuracy an epoch, smoothed over three epochs (the first two over what there is)."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    raw = [row["validation_accuracy"] for row in rows]
    return [statistics.mean(raw[max(0, i - 2) : i + 1]) for i in range(len(raw))]


def epochs_to(target: float, curve: list[float]) -> int | None:
    """The first epoch at or above the target, or ``None`` if censored."""
    return next((i + 1 for i, accuracy in enumerate(curve) if accuracy >= target), None)


def final_probe(options: argparse.Namespace, objective: str, rate: str) -> float:
    """The smoothed validation accuracy at the end of a probing run."""
    train(options.runs, objective, rate, PROBE_SEED, options.probe_epochs)
    return accuracies(run_of(options.runs, objective, rate, PROBE_SEED, options.probe_epochs))[-1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/sample_efficiency"))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--probe-epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--save", type=Path, help="folder for sample_efficiency.md and .json")
    options = parse(parser)

    with ThreadPoolExecutor(options.workers) as pool:
        probes = [(name, rate) for name in OBJECTIVES for rate in RATES]
        probed = dict(zip(probes, pool.map(lambda probe: final_probe(options, *probe), probes), strict=True))
        chosen = {name: max(RATES, key=lambda rate: probed[name, rate]) for name in OBJECTIVES}
        jobs = [(name, chosen[name], seed) for seed in range(options.seeds) for name in OBJECTIVES]
        list(pool.map(lambda job: train(options.runs, job[0], job[1], job[2], options.epochs), jobs))

    curves = {
        name: [
            accuracies(run_of(options.runs, name, chosen[name], seed, options.epochs))
            for seed in range(options.seeds)
        ]
        for name in OBJECTIVES
    }
    report(options, chosen, curves)


def report(options: argparse.Namespace, chosen: dict[str, str], curves: dict[str, list[list[float]]]) -> None:
    """Print the table and the BAR line; save both with the curves where asked."""
    finals = [curve[-1] for curve in curves["cross_entropy"]]
    target = TARGET * statistics.mean(finals)
    reached = {name: [epochs_to(target, curve) for curve in seeds] for name, seeds in curves.items()}
    lines = [
        machine(),
        f"data: JPEG CIFAR-10, 10,000 training and 2,500 validation images; {options.seeds} seeds, "
        f"{options.epochs} epochs; target {target:.2%} = {TARGET:.0%} of cross-entropy's final "
        f"{statistics.mean(finals):.2%}; grid {', '.join(RATES)} probed for {options.probe_epochs} epochs",
        "",
        "| objective | learning rate | epochs to target, each seed | median | final, median [range] |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, epochs in reached.items():
        shown = [str(value) if value else f">{options.epochs}" for value in epochs]
        middle = sorted(value or options.epochs + 1 for value in epochs)[len(epochs) // 2]
        median = f">{options.epochs}" if middle > options.epochs else str(middle)
        final = spread([100 * curve[-1] for curve in curves[name]])
        lines.append(f"| {name} | {chosen[name]} | {', '.join(shown)} | {median} | {final} % |")
    print("\n".join(lines))
    for name in (name for name in OBJECTIVES if name.startswith("expected_pg")):
        pairs = list(zip(reached[name], reached["cross_entropy"], strict=True))
        ratios = [(ours or float("inf")) / (theirs or float("nan")) for ours, theirs in pairs]
        value = statistics.median(ratios)
        print(f"{name} over cross_entropy, epochs, seed by seed: {', '.join(f'{r:.2f}' for r in ratios)}")
        label = name.replace(", exploration 0.1", "_explored")
        bar(f"{label}_epochs_over_cross_entropy", value, "<=1.5", value <= 1.5)
    if options.save:
        record: dict[str, Any] = {
            "machine": machine(),
            "target": target,
            "learning_rates": chosen,
            "epochs_to_target": reached,
            "validation_accuracy": curves,
        }
        write_json(options.save / "sample_efficiency.json", record)
        title = "# Epochs to 95 % of cross-entropy's accuracy\n\n`python benchmarks/sample_efficiency.py`\n\n"
        write_text(options.save / "sample_efficiency.md", title + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
