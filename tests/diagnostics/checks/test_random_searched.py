from __future__ import annotations

from collections.abc import Callable

import pytest

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.random_search import RandomSearched


@pytest.mark.parametrize("name", ["plain", "pgd"])
def test_it_finds_nothing_that_gradients_miss(case_for: Callable[..., Case], name: str) -> None:
    found = RandomSearched().measure(case_for(name))
    assert found.fired is False


@pytest.mark.parametrize("name", ["dead", "levels"])
def test_it_beats_an_attack_without_gradients(case_for: Callable[..., Case], name: str) -> None:
    found = RandomSearched().measure(case_for(name))
    assert (found.grade, found.black_box) == ("failed control", True)
    assert len(found.witnesses) >= 4


def test_it_needs_scores(case_for: Callable[..., Case]) -> None:
    assert RandomSearched().measure(case_for("vote")).fired is None
