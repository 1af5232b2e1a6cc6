"""What a sweep will cost: passes counted beforehand, times the speed of a few timed steps."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F

from reinforced.attacks.autoattack import AutoAttack
from reinforced.attacks.base import AttackSettings
from reinforced.attacks.spec import parse_attack
from reinforced.data import Dataset, load, to_float
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.models import build, channels_last
from reinforced.studies.sweep.records import to_do
from reinforced.studies.sweep.study import Diagnose, Entry, Evaluate, Study
from reinforced.training.adversaries import Trainee
from reinforced.training.device import resolve_precision
from reinforced.training.plan import plan
from reinforced.training.recipe import Recipe

STEPS = 3
"""Timed after one to warm up."""
STEP_PASSES = 3
"""Of a supervised step: forward 1, full backward 2."""


@dataclass(frozen=True)
class Cost:
    """What is left to do of an entry.

    Attributes:
        training: passes of training, from the recipe.
        evaluation: passes of the attacks, at most: an image that is broken early costs less.
        control: passes of training the diagnosis's control.
        diagnosis: passes of the claimed attack; the checks come on top.
        speed: passes a second of this network in training, at the recipe's precision, measured here.
        attack_speed: the same in float32, in which models are attacked.
    """

    entry: Entry
    training: float
    evaluation: float
    control: float
    diagnosis: float
    speed: float
    attack_speed: float

    @property
    def seconds(self) -> float:
        """All of it, on one worker."""
        trained, attacked = self.training + self.control, self.evaluation + self.diagnosis
        return trained / self.speed + attacked / self.attack_speed


def estimate(
    study: Study, entries: Sequence[Entry], *, device: torch.device, threads: int, root: Path | None
) -> list[Cost]:
    """The cost of what every entry has left; nothing is trained, and a finished step costs nothing.

    Args:
        study: what is done with each entry.
        entries: those of its runs whose speed is worth timing.
        device: where the steps are timed.
        threads: of a worker.
        root: folder of data sets.

    Raises:
        ReinforcedError: an entry that cannot be run: no such data or network, a batch larger than the data.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    datasets: dict[str, Dataset] = {}
    speeds: dict[str, float] = {}
    costs = []
    try:
        for entry in entries:
            try:
                costs.append(_cost(study, entry, datasets, speeds, device, root))
            except ReinforcedError as error:
                raise ReinforcedError(f"entry {entry.name}: {error}") from None
    finally:
        torch.set_num_threads(before)
    return costs


def _cost(
    study: Study,
    entry: Entry,
    datasets: dict[str, Dataset],
    speeds: dict[str, float],
    device: torch.device,
    root: Path | None,
) -> Cost:
    recipe, left = entry.recipe, to_do(study, entry)
    dataset = _remembered(datasets, recipe, root)
    training = _training(recipe, dataset)

    def speed(precision: str) -> float:
        settings = [recipe.data.model_dump(), recipe.model.model_dump(), recipe.batch_size, precision]
        key = json.dumps(settings, sort_keys=True)
        if key not in speeds:
            speeds[key] = _speed(recipe, dataset, device, precision)
        return speeds[key]

    judged = study.diagnose if "diagnose" in left else None
    return Cost(
        entry,
        training if "train" in left else 0.0,
        sum(_evaluation(study.evaluate, dataset, left)) if study.evaluate is not None else 0.0,
        float(recipe.epochs * len(dataset.train) * STEP_PASSES) if judged is not None else 0.0,
        _diagnosis(judged, dataset) if judged is not None else 0.0,
        speed(resolve_precision(recipe.precision, device)),
        speed("float32"),
    )


def _remembered(datasets: dict[str, Dataset], recipe: Recipe, root: Path | None) -> Dataset:
    key = recipe.data.model_dump_json()
    if key not in datasets:
        datasets.clear()  # one at a time: entries of the same data lie together
        data = recipe.data
        datasets[key] = load(
            data.source, size=data.size, root=root, validation=data.validation, limit=data.limit
        )
    return datasets[key]


def _training(recipe: Recipe, dataset: Dataset) -> float:
    stretches = plan(recipe, len(dataset.train)).stretches
    return sum(one.steps * one.phase.passes.total for one in stretches) * recipe.batch_size


def _evaluation(wanted: Evaluate, dataset: Dataset, left: Sequence[str]) -> list[float]:
    images = min(wanted.images or len(dataset.test), len(dataset.test))
    costs = []
    for threat in wanted.budgets():
        if f"evaluate {threat}" in left:
            chosen = wanted.chosen(threat)
            each = [image_passes(one) for one in (*chosen.sealed, *chosen.released)]
            costs.append(float(images * sum(each)))
    return costs


def _diagnosis(wanted: Diagnose, dataset: Dataset) -> float:
    images = min(wanted.images or len(dataset.test), len(dataset.test))
    attack = parse_attack(Claim.parse(wanted.claim).attack)
    return float(2 * images * image_passes(attack))  # the control is attacked too


def image_passes(attack: AttackSettings) -> int:
    """About how many an image takes that stands to the end."""
    steps = attack.access == "gradients" and not isinstance(attack, AutoAttack)
    return 2 * attack.cost if steps else attack.cost  # a step is a forward pass and a gradient


def _speed(recipe: Recipe, dataset: Dataset, device: torch.device, precision: str) -> float:
    """Passes a second of supervised steps on the first batch, laid out as in training; no optimiser."""
    shape, classes = dataset.train.shape, len(dataset.classes)
    model = build(recipe.model.name, shape=shape, classes=classes, normalize=recipe.model.normalize)
    model = channels_last(model, shape, classes).to(device)
    trainee = Trainee(model, model, precision)
    stored, labels = dataset.train.batch(torch.arange(min(recipe.batch_size, len(dataset.train))))
    images, labels = to_float(stored).to(device), labels.to(device)
    began = 0.0
    for step in range(STEPS + 1):
        if step == 1:
            began = _now(device)
        F.cross_entropy(trainee.forward(images), labels).backward()  # type: ignore[no-untyped-call]
    return STEPS * STEP_PASSES * len(labels) / (_now(device) - began)


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
