"""The quickstart: digits, three classifiers, one attack, one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from reinforced.attacks.base import run_attack
from reinforced.attacks.intervals import clopper_pearson
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import BUDGETS
from reinforced.data import load, to_float
from reinforced.training.loop import train
from reinforced.training.progress import progress_bar
from reinforced.training.recipes import load_recipe
from reinforced.training.run import default_run, load_model

MODELS = {"SL": "quickstart/sl", "RL": "quickstart/rl", "RL, expected": "quickstart/rl-expected"}


@dataclass(frozen=True)
class QuickstartRow:
    """One trained classifier; accuracies on the test images, training's seconds and passes."""

    label: str
    clean: float
    robust: float
    interval: tuple[float, float]
    seconds: float
    passes: float
    run: Path


@dataclass(frozen=True)
class Quickstart:
    """The quickstart's table and what it was measured with."""

    rows: list[QuickstartRow]
    threat: str
    attack: str
    images: int


def run_quickstart(runs: Path, *, device: torch.device, seed: int = 0) -> Quickstart:
    """Train the quickstart recipes into ``runs`` and attack each on all test images of digits."""
    torch.set_num_threads(1)  # images of 64 pixels are too small to share: a second core only waits
    threat = BUDGETS["digits"][0]
    attack = PGD(steps=40, restarts=2)
    test = load("digits").test
    images, labels = test.batch(torch.arange(len(test)))
    pixels, labels = to_float(images).to(device), labels.to(device)
    rows = []
    for label, name in MODELS.items():
        recipe = load_recipe(name, overrides=[f"seed={seed}"])
        run = default_run(recipe, runs)
        with progress_bar(f"{label:12}", lines=False) as bar:
            summary = train(recipe, run, device=device, reporter=bar)
        model = load_model(run).to(device)
        result = run_attack(attack, model, pixels, labels, threat, seed=seed)
        survivors, clean = int(result.robust.sum()), int(result.clean_correct.sum())
        rows.append(
            QuickstartRow(
                label,
                clean / len(labels),
                survivors / len(labels),
                clopper_pearson(survivors, len(labels)),
                summary["seconds"],
                summary["passes"],
                run,
            )
        )
    described = f"{attack.steps} steps, {attack.restarts} restarts, cross-entropy"
    return Quickstart(rows, str(threat), described, len(labels))
