from __future__ import annotations

from collections.abc import Callable

import pytest

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.black_box import BlackBox


@pytest.mark.parametrize("name", ["plain", "pgd"])
def test_gradients_are_better_on_sound_models(case_for: Callable[..., Case], name: str) -> None:
    found = BlackBox().measure(case_for(name))
    assert found.grade in (None, "witness")
    assert len(found.witnesses) <= 1


@pytest.mark.parametrize("name", ["levels", "vote", "winners", "scaled"])
def test_it_beats_gradients_that_mislead(case_for: Callable[..., Case], name: str) -> None:
    case = case_for(name)
    found = BlackBox().measure(case)
    assert (found.grade, found.black_box) == ("failed control", True)
    assert set(found.witnesses) == set(case.examples)


def test_labels_are_enough(case_for: Callable[..., Case]) -> None:
    figures = BlackBox().measure(case_for("vote", images=16)).figures
    assert any(name.startswith("rays") for name in figures)
    assert not any(name.startswith("square") for name in figures)


def test_l2_walks_along_the_boundary(case_for: Callable[..., Case]) -> None:
    found = BlackBox().measure(case_for("levels", "pgd@l2:1.5", images=6))
    assert any(name.startswith("hopskipjump") for name in found.figures)
