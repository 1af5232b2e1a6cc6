"""The quickstart: digits, five classifiers, PGD and AutoAttack, a verdict on each, one table and one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from reinforced.attacks.threat import BUDGETS, ThreatModel
from reinforced.diagnostics.findings import Claim
from reinforced.evaluation.job import folder_name
from reinforced.evaluation.records import Evaluation
from reinforced.report.write import write_report
from reinforced.studies.diagnosis import diagnose_subject
from reinforced.studies.evaluations import Plan, draw_curves, evaluate_subject, remember_subject
from reinforced.studies.mechanism import draw_landscape, landscape_folder, measure_subject
from reinforced.studies.subjects import Source, Subject, load_subject
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
LANDSCAPE = 100  # points a side

Told = Callable[[str], None]


@dataclass(frozen=True)
class QuickstartRow:
    """One classifier; accuracies on the test images, the worst case's interval, training's cost, verdict."""

    label: str
    clean: float
    pgd: float | None
    autoattack: float | None
    robust: float
    interval: tuple[float, float]
    seconds: float
    passes: float
    verdict: str
    run: Path


@dataclass(frozen=True)
class Quickstart:
    """The quickstart's table, what it was measured with, and the page that shows it."""

    rows: list[QuickstartRow]
    threat: str
    attacks: tuple[str, ...]
    images: int
    report: Path


def run_quickstart(runs: Path, *, device: torch.device, seed: int = 0, told: Told) -> Quickstart:
    """Train the quickstart recipes into ``runs``, attack, judge and measure each on the first test images.

    All is kept in the runs, and what is there is not done again; ``told`` hears what goes on.
    """
    torch.set_num_threads(1)  # images of 64 pixels are too small to share: a second core only waits
    threat = BUDGETS["digits"][0]
    rows: list[QuickstartRow] = []
    subjects: list[Subject] = []
    for label, name in MODELS.items():
        recipe = load_recipe(name, overrides=[f"seed={seed}"])
        run = default_run(recipe, runs)
        with progress_bar(f"{label:12}", lines=False) as bar:
            summary = train(recipe, run, device=device, reporter=bar)
        subject = load_subject(str(run), Source(images=IMAGES), device, runs)
        subjects.append(subject)

        def say(what: str, label: str = label) -> None:
            told(f"{label}: {what}")

        found = _evaluate(subject, run, threat, seed, say)
        verdict = _look_into(subject, subjects[0], run, threat, seed, say)
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
                verdict,
                run,
            )
        )
    told("transfer between the models")
    draw_curves("models", subjects, threat, seed)
    told("report")
    report = runs / "report.html"
    write_report([row.run for row in rows], report)
    return Quickstart(rows, str(threat), ATTACKS, len(subjects[0].labels), report)


def _evaluate(subject: Subject, run: Path, threat: ThreatModel, seed: int, told: Told) -> Evaluation:
    folder, found = evaluate_subject(
        subject,
        threat,
        Plan(ATTACKS, {}, None, seed, False, (1, 1)),
        lambda attack, chunk, broken: told(f"{attack}, chunk {chunk + 1}: {broken} broken"),
    )
    assert found is not None  # one shard
    remember_subject(folder, str(run), Source(images=IMAGES), subject.classes)
    return found


def _look_into(
    subject: Subject, control: Subject, run: Path, threat: ThreatModel, seed: int, told: Told
) -> str:
    """Judge what PGD leaves, draw the curve over epsilon and a landscape, measure the indicators."""
    _, diagnosis = diagnose_subject(
        subject,
        Claim(ATTACKS[0], threat),
        budget="quick",
        control=control.model,
        surrogates={},
        smoothed=None,
        seed=seed,
        told=told,
    )
    place = folder_name(str(threat))
    if not (run / "evaluations" / place / "over-epsilon.json").is_file():
        told("PGD over epsilon")
        draw_curves("epsilon", [subject], threat, seed)
    indicators = run / "diagnostics" / "indicators"
    if not (indicators / f"{place}.json").is_file():
        measure_subject(subject, threat, indicators, steps=20, seed=seed, batch=IMAGES, told=told)
    drawn = landscape_folder(run, threat, 0)
    if not (drawn / "slices.csv").is_file():
        told("landscape")
        draw_landscape(subject, 0, threat, drawn, seed=seed, size=LANDSCAPE, adaptive=True)
    return diagnosis.verdict.label
