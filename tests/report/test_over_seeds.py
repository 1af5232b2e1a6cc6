"""Intervals over seeds and over images, on known input."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from reinforced.attacks.intervals import clopper_pearson
from reinforced.report.figure import Values, column
from reinforced.report.figures.over_seeds import by_method, of_shares, over_images, t_interval
from reinforced.report.records import read_runs
from reinforced.studies.statistics import estimate
from tests.report.made_up_runs import MadeUp, make_run

NAN = math.nan


def row(*shares: float) -> tuple[Values, Values, Values]:
    value = column(shares)
    return value, value - 0.1, value + 0.1


def test_t_interval_is_that_of_the_comparison() -> None:
    seeds = np.random.default_rng(0).random((4, 5))
    seeds[0, 1] = NAN
    seeds[:3, 2] = NAN
    seeds[:, 3] = NAN
    seeds[:, 4] = 0.1
    mean, low, high = t_interval(seeds, 0.0, 1.0)
    for at in range(5):
        known = estimate([None if math.isnan(x) else x for x in seeds[:, at].tolist()], 0.0, 1.0)
        if known is None:
            assert np.isnan([mean[at], low[at], high[at]]).all()
            continue
        assert mean[at] == pytest.approx(known.mean)
        ends = [NAN if end is None else end for end in (known.low, known.high)]
        np.testing.assert_allclose([low[at], high[at]], ends, rtol=1e-12)


def test_t_interval_by_hand() -> None:
    # Two values d apart: mean +- 12.7062 * (d / sqrt 2) / sqrt 2.
    mean, low, high = t_interval(column([[0.4], [0.6]]))
    assert (mean[0], low[0], high[0]) == pytest.approx((0.5, 0.5 - 1.27062, 0.5 + 1.27062), abs=1e-5)
    assert t_interval(column([[0.4], [0.6]]), 0, 1)[1][0] == 0


def test_one_seed_has_no_band_and_keeps_its_interval_over_images() -> None:
    one = of_shares([row(0.5, 0.7)])
    np.testing.assert_array_equal(one.low, row(0.5, 0.7)[1])
    assert one.seeds == 1
    assert "images" in one.about
    unmeasured = of_shares([row(0.5, 0.7), row(NAN, NAN)])
    assert unmeasured.seeds == 1
    several = of_shares([row(0.5, 0.7), row(0.6, NAN)])
    assert several.about == "95 % t-interval over 2 seeds"
    np.testing.assert_allclose(several.value, [0.55, 0.7])
    assert np.isnan(several.low[1])


def test_nothing_measured_is_not_an_error() -> None:
    none = of_shares([row(NAN), row(NAN)])
    assert none.seeds == 0
    assert none.about == ""
    assert np.isnan(over_images(NAN, 100)).all()
    assert np.isnan(over_images(0.5, 0)).all()


def test_interval_over_images() -> None:
    assert over_images(0.25, 300) == clopper_pearson(75, 300)


def test_runs_that_differ_in_their_seed_are_one_method_and_a_seed_counts_once(tmp_path: Path) -> None:
    made = [MadeUp(seed=0), MadeUp(seed=1), MadeUp(seed=1), MadeUp(recipe="quickstart/sl")]
    runs = read_runs([make_run(tmp_path / str(number), each) for number, each in enumerate(made)])
    methods = by_method(runs)
    assert [[run.name for run in method.runs] for method in methods] == [["0", "1"], ["3"]]
    assert [method.slot for method in methods] == [0, 1]
