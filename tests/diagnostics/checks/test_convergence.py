from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.convergence import Convergence, late_rise


def test_more_steps_break_what_three_small_ones_left(case_for: Callable[..., Case]) -> None:
    case = case_for("plain", "pgd(steps=10,step=0.004,random_start=false)@linf:0.15", images=32)
    found = Convergence().measure(case)
    assert (found.fired, found.grade) == (True, "witness")
    assert len(found.witnesses) > 10
    assert float(found.figures["rise"] or 0) > Convergence().rising


def test_a_finished_attack_has_risen(case_for: Callable[..., Case]) -> None:
    found = Convergence().measure(case_for("plain"))
    assert float(found.figures["rise"] or 0) < Convergence().rising
    assert found.grade in (None, "witness")


def test_the_late_part_of_a_rise() -> None:
    steady = torch.linspace(0, 1, 101)[:, None]
    assert late_rise(steady) == pytest.approx(0.2, abs=0.01)
    assert late_rise(torch.ones(50, 3)) == 0
    assert late_rise(steady.clamp_max(0.5)) == 0
    assert late_rise(steady[:5]) is None


def test_it_needs_gradients(case_for: Callable[..., Case]) -> None:
    assert Convergence().measure(case_for("vote")).fired is None
