"""The quickstart: digits, five classifiers, PGD and AutoAttack, one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from reinforced.attacks.threat import BUDGETS
from reinforced.studies.evaluations import Plan, evaluate_subject, remember_subject
from reinforced.studies.subjects import Source, load_subject
from reinforced.training.loop import train
from reinforced.training.progress import progress_bar
from reinforced.training.recipes import load_recipe
from reinforced.training.run import default_run

MODELS = {
    "SL": "quickstart/sl",
    "RL": "quickstart/rl",
    "RL, expected": "quickstart/rl-expected",
    "SL-adv": "quickstart/sl-adv",
    "RL-adv": "quickstart/rl-adv",
}
ATTACKS = ("pgd(steps=40,restarts=2)", "autoattack")
IMAGES = 128  # two chunks: AutoAttack on all 300 takes minutes


@dataclass(frozen=True)
class QuickstartRow:
    """One classifier; accuracies on the test images, the worst case's interval, training's cost."""

    label: str
    clean: float
    pgd: float | None
    autoattack: float | None
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
    attacks: tuple[str, ...]
    images: int


def run_quickstart(
    runs: Path, *, device: torch.device, seed: int = 0, told: Callable[[str], None]
) -> Quickstart:
    """Train the quickstart recipes into ``runs`` and attack each on the first test images of digits.

    Evaluations are kept in the runs, and what is there is not done again; ``told`` hears what goes on.
    """
    torch.set_num_threads(1)  # images of 64 pixels are too small to share: a second core only waits
    threat = BUDGETS["digits"][0]
    plan = Plan(ATTACKS, {}, None, seed, False, (1, 1))
    rows = []
    for label, name in MODELS.items():
        recipe = load_recipe(name, overrides=[f"seed={seed}"])
        run = default_run(recipe, runs)
        with progress_bar(f"{label:12}", lines=False) as bar:
            summary = train(recipe, run, device=device, reporter=bar)
        subject = load_subject(str(run), Source(images=IMAGES), device, runs)
        folder, found = evaluate_subject(
            subject,
            threat,
            plan,
            lambda attack, chunk, broken, label=label: told(  # type: ignore[misc]
                f"{label}: {attack}, chunk {chunk + 1}: {broken} broken"
            ),
        )
        assert found is not None  # one shard
        remember_subject(folder, str(run), Source(images=IMAGES))
        rows.append(
            QuickstartRow(
                label,
                found.clean_accuracy,
                found.attacks[0].accuracy,
                found.autoattack_accuracy,
                found.robust_accuracy,
                found.interval,
                summary["seconds"],
                summary["passes"],
                run,
            )
        )
    return Quickstart(rows, str(threat), ATTACKS, len(subject.labels))
