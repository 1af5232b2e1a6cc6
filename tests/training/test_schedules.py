from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from reinforced.training.schedules import (
    AnySchedule,
    Constant,
    Cosine,
    InverseTime,
    Linear,
    OneCycle,
    Step,
)

Schedule = Constant | Cosine | Linear | Step | OneCycle | InverseTime

SCHEDULES: dict[str, Schedule] = {
    "constant": Constant(),
    "cosine": Cosine(),
    "cosine-warm": Cosine(warmup_epochs=2, end_factor=0.1),
    "cosine-warm-throughout": Cosine(warmup_epochs=1000),
    "linear": Linear(),
    "linear-down-to-0": Linear(end_factor=0, warmup_epochs=0.5),
    "linear-rising": Linear(start_factor=0.1, end_factor=1),
    "step": Step(milestones=(1, 2.5)),
    "one_cycle": OneCycle(),
    "one_cycle-early": OneCycle(peak=0.01),
    "inverse_time": InverseTime(decay=1e-2),
}
every_schedule = pytest.mark.parametrize("name", SCHEDULES)


def test_every_kind_has_a_row() -> None:
    kinds = {member.model_fields["kind"].default for member in get_args(get_args(AnySchedule)[0])}
    assert {schedule.kind for schedule in SCHEDULES.values()} == kinds


@every_schedule
@pytest.mark.parametrize(("epochs", "epoch_steps"), [(1, 1), (1, 2), (1, 7), (5, 1), (4, 10)])
def test_positive_finite_and_at_most_the_base_rate(name: str, epochs: int, epoch_steps: int) -> None:
    steps = epochs * epoch_steps
    factors = [SCHEDULES[name].factor(step, steps, epoch_steps) for step in range(steps)]
    assert all(math.isfinite(factor) and 0 < factor <= 1 for factor in factors)


@every_schedule
def test_settings_survive_a_recipe(name: str) -> None:
    schedule = SCHEDULES[name]
    assert type(schedule).model_validate(schedule.model_dump(mode="json")) == schedule


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(), {0: 1, 50: 1, 99: 1}),
        (Cosine(), {0: 1, 25: (1 + math.sqrt(0.5)) / 2, 50: 0.5, 99: (1 - math.cos(math.pi / 100)) / 2}),
        (Cosine(end_factor=0.2), {0: 1, 50: 0.6}),
        # 20 warm updates, then 80 of the cosine.
        (Cosine(warmup_epochs=2), {0: 1 / 21, 19: 20 / 21, 20: 1, 60: 0.5}),
        (Linear(), {0: 1, 50: 0.55, 99: 1 - 0.9 * 0.99}),
        (Linear(start_factor=0.5, end_factor=0), {0: 0.5, 50: 0.25, 99: 0.005}),
        (Linear(start_factor=0.5, end_factor=0, warmup_epochs=2), {0: 0.5 / 21, 20: 0.5, 60: 0.25}),
        (Step(milestones=(3, 6), gamma=0.5), {0: 1, 29: 1, 30: 0.5, 59: 0.5, 60: 0.25, 99: 0.25}),
        (Step(milestones=(0.25,)), {2: 1, 3: 0.1}),
        (OneCycle(peak=0.5, start_factor=0.2), {0: 0.2, 25: 0.6, 50: 1, 75: 0.5, 99: 0.02}),
        (OneCycle(peak=0.25, end_factor=0.4), {0: 0.04, 25: 1, 50: 0.8, 75: 0.6}),
        (InverseTime(decay=0.5), {0: 1, 1: 1 / 1.5, 2: 0.5, 98: 0.02}),
    ],
)
def test_closed_forms_over_ten_epochs_of_ten(schedule: Schedule, expected: dict[int, float]) -> None:
    assert {step: schedule.factor(step, 100, 10) for step in expected} == pytest.approx(expected)


@pytest.mark.parametrize("steps", [1, 7, 40])
def test_cosine_and_linear_are_torchs(steps: int) -> None:
    weight = torch.nn.Parameter(torch.zeros(1))
    for ours, theirs in (
        (Cosine(), lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps)),
        (Linear(), lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.1, steps)),
    ):
        optimizer = torch.optim.SGD([weight], lr=1.0)
        scheduler = theirs(optimizer)
        for step in range(steps):
            assert ours.factor(step, steps, 1) == pytest.approx(scheduler.get_last_lr()[0], abs=1e-7)
            optimizer.step()
            scheduler.step()


def test_a_warm_up_longer_than_the_phase_rises_throughout() -> None:
    factors = [Cosine(warmup_epochs=9).factor(step, 4, 4) for step in range(4)]
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8])
