"""Phases and budgets laid out in updates and epochs, and runs that keep to them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reinforced.errors import Interrupted, ReinforcedError
from reinforced.training.plan import plan
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory, overview
from reinforced.training.schedules import Cosine

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]
Figures = Callable[[Path], list[dict[str, Any]]]
IMAGES = 100  # three whole batches of 32, and a remainder that is left out
# A clean update costs 32 * 3 passes, one on PGD images 32 * (3 + 2 * 2).
PHASES: list[dict[str, Any]] = [{"epochs": 1}, {"epochs": 50, "adversary": {"kind": "pgd", "steps": 2}}]
CLEAN, PGD = 32 * 3, 32 * 7


def test_phases_follow_one_another(make: Make) -> None:
    laid = plan(make(phases=[{"epochs": 2}, {"epochs": 1}, {"epochs": 3}]), IMAGES)
    assert [(one.first, one.steps, one.epochs) for one in laid.stretches] == [(0, 6, 2), (2, 3, 1), (3, 9, 3)]
    assert (laid.epochs, laid.steps) == (6, 18)
    assert [laid.at(epoch).index for epoch in range(6)] == [0, 0, 1, 2, 2, 2]
    assert [laid.steps_before(epoch) for epoch in range(6)] == [0, 3, 6, 9, 12, 15]
    assert laid.at(4).within(4, 2) == 5


@pytest.mark.parametrize(
    ("updates", "steps", "epochs", "last"),
    [(1, 1, 1, 1), (1.99, 1, 1, 1), (3, 3, 1, 3), (4.5, 4, 2, 1), (6, 6, 2, 3), (7, 7, 3, 1)],
)
def test_a_budget_decides_the_last_phase(
    make: Make, updates: float, steps: int, epochs: int, last: int
) -> None:
    """As many whole updates as fit; the epoch in which it ends is cut short."""
    laid = plan(make(phases=PHASES, budget={"passes": 3 * CLEAN + updates * PGD}), IMAGES)
    stretch = laid.stretches[1]
    assert (stretch.steps, stretch.epochs) == (steps, epochs)
    assert laid.epochs == 1 + epochs
    assert stretch.batches(laid.epochs - 1) == last
    assert laid.stretches[0].steps == 3


@pytest.mark.parametrize("updates", [10, 33, 77, 1001])
def test_a_budget_of_whole_updates_is_spent_whatever_the_rounding(make: Make, updates: int) -> None:
    regularisers = [{"kind": "gradient_alignment"}]
    recipe = make(phases=[{"epochs": 1, "regularisers": regularisers}], budget={"passes": 0.1})
    cost = recipe.phases[0].passes.total * 32
    recipe = make(phases=[{"epochs": 1, "regularisers": regularisers}], budget={"passes": cost * updates})
    assert plan(recipe, IMAGES).steps == updates


def test_a_budget_that_ends_too_early(make: Make) -> None:
    for spare in (0, 0.99 * PGD):
        with pytest.raises(
            ReinforcedError, match="is spent before the last phase's first update: the phases"
        ):
            plan(make(phases=PHASES, budget={"passes": 3 * CLEAN + spare}), IMAGES)


def test_a_run_keeps_to_its_budget(make: Make, fit: Fit, figures: Figures, tmp_path: Path) -> None:
    budget = 3 * CLEAN + 4.5 * PGD
    phases = [PHASES[0], PHASES[1] | {"schedule": {"kind": "cosine"}, "lr": 0.5}]
    summary = fit(make(phases=phases, budget={"passes": budget}), tmp_path / "run")
    assert budget - PGD < summary["passes"] <= budget
    rows = figures(tmp_path / "run")
    assert [row["passes"] for row in rows] == [3 * CLEAN, 3 * CLEAN + 3 * PGD, 3 * CLEAN + 4 * PGD]
    assert summary["epochs"] == 3
    # The schedule ends with the budget: its progress counts the updates there are.
    expected = [0.5 * Cosine().factor(step, 4, 3) for step in (2, 3)]
    assert [row["lr"] for row in rows[1:]] == pytest.approx(expected)
    # Of the one batch of the last epoch, in thirty-seconds.
    assert rows[2]["crafted_accuracy"] * 32 == pytest.approx(round(rows[2]["crafted_accuracy"] * 32))
    assert rows[2]["loss"] < 10


def test_the_overview_counts_a_budgets_epochs(make: Make, fit: Fit, tmp_path: Path) -> None:
    recipe = make(phases=PHASES, budget={"passes": 3 * CLEAN + 4.5 * PGD})
    with pytest.raises(Interrupted):
        fit(recipe, tmp_path / "run", stop=5)
    (row,) = overview(tmp_path / "run")
    assert (row.epoch, row.epochs, row.state) == (1, 3, "unfinished")
    fit(recipe, tmp_path / "run")
    (row,) = overview(tmp_path / "run")
    assert (row.epoch, row.epochs, row.state) == (3, 3, "finished")
    assert RunDirectory(tmp_path / "run").summary() is not None
