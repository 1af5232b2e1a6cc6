"""Intervals of cells and of differences: over seeds, over images, and over both at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reinforced.attacks.intervals import clopper_pearson
from reinforced.studies.reproduce.imagewise import over_images, packed, standard_error, unpacked
from reinforced.studies.reproduce.ledger import answer
from reinforced.studies.reproduce.spans import difference, span
from reinforced.studies.statistics import contrast, estimate
from tests.studies.made_cells import cell, condition, outcomes_of


def test_seeds_that_agree_leave_a_difference_what_the_images_allow() -> None:
    first, second = cell("RL", "clean", 0.7, 0.7), cell("SL", "clean", 0.65, 0.65)
    half = 1.96 * (0.7 * 0.3 / 500 + 0.65 * 0.35 / 500) ** 0.5
    assert difference(first, second) == pytest.approx((0.05, 0.05 - half, 0.05 + half), abs=1e-3)


def test_images_that_both_get_right_or_wrong_say_nothing_of_a_difference() -> None:
    right = [1] * 350 + [0] * 150
    first, second = [*right], [0] * 25 + right[25:]  # 25 discordant images, all one way
    paired = difference(
        outcomes_of(cell("RL", "clean", 0), first, first),
        outcomes_of(cell("SL", "clean", 0), second, second),
    )
    assert paired is not None
    # Agresti & Min 2005: (b + c + 1 - (b - c)^2 / n) / (n + 2)^2.
    half = 1.96 * (25 + 1 - 25**2 / 500) ** 0.5 / 502
    assert paired == pytest.approx((0.05, 0.05 - half, 0.05 + half), abs=1e-4)


def test_no_interval_passes_the_natural_ends() -> None:
    wide = cell("RL", "margin", 0.1, 0.9)  # a t-interval of two seeds is wider than any cosine
    free, cosine, length = (
        span(wide | {"least": least, "most": most})
        for least, most in ((None, None), (-1.0, 1.0), (0.0, None))
    )
    assert free is not None
    assert free.low < -1 < 1 < free.high
    assert cosine == (0.5, -1.0, 1.0)
    assert length == (0.5, 0.0, free.high)


def test_an_interval_is_of_seeds_and_images_drawn_anew_at_once() -> None:
    first = [[1] * 100 + [0] * 400, [1] * 101 + [0] * 399, [1] * 99 + [0] * 401]
    second = [[0] * 400 + one[:100] for one in ([1] * 92 + [0] * 8, [1] * 93 + [0] * 7, [1] * 91 + [0] * 9)]
    one = outcomes_of(cell("RL", "clean", 0), *first)
    other = outcomes_of(cell("SL", "clean", 0), *second)
    welch = contrast([0.2, 0.202, 0.198], [0.184, 0.186, 0.182])
    assert welch.high is not None
    both = np.mean(np.array(first) - np.array(second), axis=0)
    half = np.hypot(welch.high - welch.difference, 1.96 * standard_error(both))
    found = difference(one, other)
    assert found == pytest.approx((0.016, 0.016 - half, 0.016 + half), abs=1e-5)
    alone, seeds = span(one), estimate([0.2, 0.202, 0.198])
    assert alone is not None
    assert seeds is not None
    assert seeds.high is not None
    low, high = clopper_pearson(100, 500)
    other_seeds = seeds.high - 0.2
    assert alone.low == pytest.approx(0.2 - np.hypot(other_seeds, 0.2 - low))
    assert alone.high == pytest.approx(0.2 + np.hypot(other_seeds, high - 0.2))


def test_columns_of_the_same_runs_differ_run_by_run() -> None:
    best, end = cell("RL", "robust", 0.30, 0.40, 0.50), cell("RL", "clean", 0.28, 0.37, 0.49)
    bare = {"images": None, "least": -1.0}  # over seeds alone
    found, paired = difference(best | bare, end | bare), estimate([0.02, 0.03, 0.01])
    assert found is not None
    assert paired is not None
    assert found == pytest.approx((0.02, paired.low, paired.high))
    others = difference(best | bare, end | bare | {"row": "SL"})
    assert others is not None
    assert others.low < found.low < 0


@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize(("of_seed", "of_both"), [(0.0, 0.3), (0.05, 0.3), (0.1, 1.0), (0.3, 0.3)])
def test_intervals_cover_at_least_as_often_as_they_say(seeds: int, of_seed: float, of_both: float) -> None:
    """Of 1,000 draws of two methods alike on average, on 250 images, few differ beyond chance.

    An image is right where a normal draw of its own, of its method, of the seed and of both is above 0.6. At
    95 % some 50 of 1,000 may be missed, 73 at the 99.9 % quantile.
    """
    rng = np.random.default_rng(0)
    missed = 0
    for _ in range(1000):
        image = rng.normal(0, 1, 250)
        pair: list[dict[str, Any]] = []
        for row in ("RL", "SL"):
            score = image + rng.normal(0, 0.5, 250) + rng.normal(0, of_seed, (seeds, 1))
            right = score + rng.normal(0, of_both, (seeds, 250)) > 0.6
            pair.append(outcomes_of(cell(row, "clean", 0), *right.astype(int).tolist()))
        found = difference(pair[0], pair[1])
        assert found is not None
        missed += not found.low <= 0 <= found.high
    assert missed <= 73


def test_no_loss_in_any_seed_decides_that_there_is_little() -> None:
    cells = {("RL", "clean"): outcomes_of(cell("RL", "clean", 0), [0] * 500, [0] * 500)}
    claim = {"given": [], "conditions": [condition("RL", "clean", most=0.02)]}
    assert answer(claim, cells) == "holds"


def test_images_allow_a_proportion_its_exact_interval_and_a_difference_a_normal_one() -> None:
    share = outcomes_of(cell("RL", "clean", 0), [0] * 500, [0] * 500)
    assert over_images(share) == clopper_pearson(0, 500)
    low, high = over_images(share | {"least": -1.0})  # 0 of 500 lost: as many may be won
    assert low == pytest.approx(-high)
    assert high == pytest.approx(1.96 / 502, abs=1e-5)
    assert over_images(share, 0.99)[1] > over_images(share)[1]
    third = outcomes_of(cell("RL", "clean", 0), [0] * 500, [0] * 500, [0] * 499 + [1])
    assert over_images(third) == (0.0, clopper_pearson(1, 500)[1])
    most = outcomes_of(cell("RL", "clean", 0), [1] * 500, [1] * 500, [1] * 499 + [0])
    assert over_images(most) == (clopper_pearson(499, 500)[0], 1.0)
    assert over_images(cell("RL", "margin", 0.0, 0.0, interval=None)) == ()


def test_the_error_of_a_difference_covers_as_often_as_it_says() -> None:
    """Of 2,000 draws of 200 images with 6 % against 3 % discordant, 95 % intervals miss in 3 to 7 %."""
    rng = np.random.default_rng(0)
    draws = rng.choice([1.0, -1.0, 0.0], p=[0.06, 0.03, 0.91], size=(2000, 200))
    missed = np.mean([abs(one.mean() - 0.03) > 1.96 * standard_error(one) for one in draws])
    assert 0.03 < missed < 0.07


def test_an_accuracy_has_no_interval_beyond_its_ends() -> None:
    found = span(cell("RL", "robust", 0.0, 0.0, 0.02))
    assert found is not None
    assert (found.low, round(found.mean, 4)) == (0.0, 0.0067)
    assert found.high > 0.02
    number = span(cell("RL", "margin", 0.0, 0.0, 0.02))
    assert number is not None
    assert number.low < 0


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=50))
def test_outcomes_survive_their_masks(outcomes: list[int]) -> None:
    found = unpacked(packed(outcomes), len(outcomes))
    assert found is not None
    assert found.tolist() == outcomes
