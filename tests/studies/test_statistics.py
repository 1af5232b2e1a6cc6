from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from reinforced.diagnostics.statistics import holm
from reinforced.studies.statistics import contrast, estimate, mcnemar, permutation


def test_t_interval_against_the_table() -> None:
    # Mean 0.5, standard deviation 0.1, three seeds: 0.5 -+ 4.302653 * 0.1 / sqrt(3).
    found = estimate([0.4, 0.5, 0.6], 0.0, 1.0)
    assert found is not None
    assert (found.n, found.of, found.minimum, found.maximum) == (3, 3, 0.4, 0.6)
    assert found.mean == pytest.approx(0.5)
    assert found.low == pytest.approx(0.5 - 4.302653 * 0.1 / math.sqrt(3), abs=1e-6)
    assert found.high == pytest.approx(0.5 + 4.302653 * 0.1 / math.sqrt(3), abs=1e-6)


def test_an_interval_keeps_to_what_is_possible() -> None:
    found = estimate([0.9, 1.0], 0.0, 1.0)
    assert found is not None
    assert found.low == pytest.approx(0.95 - 12.7062 * 0.05, abs=1e-4)
    assert found.high == 1.0


def test_one_seed_has_no_interval_and_none_no_estimate() -> None:
    found = estimate([None, 0.5])
    assert found is not None
    assert (found.n, found.of, found.low, found.high) == (1, 2, None, None)
    assert estimate([None, None]) is None


def test_equal_seeds_have_no_spread_for_all_the_rounding() -> None:
    found = estimate([0.1 + 0.2] * 3)
    assert found is not None
    assert found.low == found.high == pytest.approx(0.3)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (3, 10), (10, 3), (40, 60)])
def test_mcnemar_is_the_binomial_on_discordant_images(first: int, second: int) -> None:
    n, least = first + second, min(first, second)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail))


def test_three_against_three_never_goes_below_a_tenth() -> None:
    apart = contrast([1.0, 2.0, 3.0], [101.0, 102.0, 103.0])
    assert apart.p == pytest.approx(0.1)
    assert apart.smallest_p == pytest.approx(0.1)
    assert contrast([1.0, 2.0, 3.0], [7.0, 8.0, 9.0, 10.0]).p == pytest.approx(1 / 35)
    assert contrast([1.0, 2.0, 3.0], [7.0, 8.0, 9.0, 10.0]).smallest_p == pytest.approx(1 / 35)


@pytest.mark.parametrize("sizes", [(3, 3), (3, 5), (4, 3)])
def test_permutation_against_dealing_by_hand(sizes: tuple[int, int]) -> None:
    values = np.random.default_rng(sum(sizes)).random(sum(sizes)).round(2)
    observed = abs(values[: sizes[0]].mean() - values[sizes[0] :].mean())
    gaps = []
    for chosen in combinations(range(len(values)), sizes[0]):
        mask = np.isin(np.arange(len(values)), chosen)
        gaps.append(abs(values[mask].mean() - values[~mask].mean()))
    expected = np.mean([gap >= observed - 1e-9 for gap in gaps])
    assert permutation(list(values[: sizes[0]]), list(values[sizes[0] :])) == pytest.approx(expected)


def test_permutation_deals_to_the_shorter_side() -> None:
    # Of the longer side the sums of every subset would be gigabytes.
    longer, shorter = [float(one) for one in range(27)], [30.0, 31.0, 32.0]
    assert permutation(longer, shorter) == permutation(shorter, longer) == pytest.approx(1 / math.comb(30, 3))


def test_permutation_counts_ties_that_rounding_parts() -> None:
    # Every arrangement of equal values is as extreme as the one observed.
    assert permutation([0.1, 0.1, 0.1], [0.1, 0.1, 0.1]) == 1.0
    assert permutation([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]) == 1.0


def test_welch_against_scipy() -> None:
    first, second = [0.91, 0.93, 0.92, 0.97], [0.80, 0.88, 0.84]
    found = contrast(first, second)
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert found.low == pytest.approx(expected.low)
    assert found.high == pytest.approx(expected.high)
    assert found.difference == pytest.approx(np.mean(first) - np.mean(second))


def test_no_spread_gives_no_welch_interval() -> None:
    found = contrast([0.5, 0.5, 0.5], [0.4, 0.4, 0.4])
    assert found.low is None
    assert found.high is None
    assert found.p == pytest.approx(0.1)


def test_too_many_arrangements_are_not_counted() -> None:
    found = contrast(list(range(13)), list(range(13)))
    assert found.p is None
    assert found.smallest_p == pytest.approx(2 / math.comb(26, 13))


def test_holm() -> None:
    # By hand: 0.005 * 4, 0.01 * 3, then 0.03 * 2 which also lifts 0.04.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
