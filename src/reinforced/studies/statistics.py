"""The statistics of a comparison: over images about two checkpoints, over seeds about two methods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE = 0.95
LARGEST = 3_000_000  # arrangements that a permutation test counts one by one: 12 seeds against 12
FEWEST_SEEDS = 3  # a side: with fewer no arrangement of the seeds can say anything


@dataclass(frozen=True)
class Estimate:
    """A figure over a method's seeds.

    Attributes:
        n, of: seeds it was measured with, and seeds there are.
        mean: over the ``n``.
        low, high: t-interval of the mean, of 95 % if nothing else was asked for, cut to what is possible;
            ``None`` for one seed.
        minimum, maximum: over the ``n``.
    """

    n: int
    of: int
    mean: float
    low: float | None
    high: float | None
    minimum: float
    maximum: float


@dataclass(frozen=True)
class Contrast:
    """The difference of two methods' means over seeds.

    Attributes:
        difference: first minus second.
        low, high: Welch's t-interval, of 95 % if nothing else was asked for; ``None`` where neither side
            varies.
        p: exact two-sided permutation test; ``None`` where the seeds have more arrangements than are counted.
        smallest_p: the least that any outcome with so many seeds could give.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
    smallest_p: float


def estimate(
    values: Sequence[float | None],
    least: float = -math.inf,
    most: float = math.inf,
    confidence: float = CONFIDENCE,
) -> Estimate | None:
    """Mean and t-interval over seeds of a figure that lies in [``least``, ``most``].

    ``None`` stands for a seed that was not measured, and is given back where none was.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    mean, n = math.fsum(known) / len(known), len(known)
    low = high = None
    if n > 1:
        half = _quantile(n - 1, confidence) * math.sqrt(_variance(known) / n)
        low, high = max(least, mean - half), min(most, mean + half)
    return Estimate(n, len(values), mean, low, high, min(known), max(known))


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test (1947): a fair coin over the discordant images.

    Args:
        only_first: images that only the first model has right.
        only_second: images that only the second has right.
    """
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

    discordant = only_first + only_second
    return float(binomtest(only_first, discordant).pvalue) if discordant else 1.0


def contrast(first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE) -> Contrast:
    """Welch's interval (1947) and Fisher's exact permutation test of two methods, a value a seed.

    Args:
        first, second: at least two values each.
        confidence: of the interval.
    """
    difference = math.fsum(first) / len(first) - math.fsum(second) / len(second)
    parts = [_variance(values) / len(values) for values in (first, second)]
    low = high = None
    if sum(parts) > 0:
        sizes = (len(first), len(second))
        freedom = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
        half = _quantile(freedom, confidence) * math.sqrt(sum(parts))
        low, high = difference - half, difference + half
    arrangements = math.comb(len(first) + len(second), len(first))
    # With equally many seeds an arrangement and its mirror image are equally extreme.
    smallest = (2 if len(first) == len(second) else 1) / arrangements
    p = permutation(first, second) if arrangements <= LARGEST else None
    return Contrast(difference, low, high, p, smallest)


def permutation(first: Sequence[float], second: Sequence[float]) -> float:
    """Share of all ways to deal the values to two methods whose means differ at least as much as these."""
    if len(first) > len(second):  # as extreme either way, and the shorter one's sums are far fewer
        first, second = second, first
    pooled = np.array([*first, *second], dtype=np.float64)
    # sums[k]: of every choice of k of the values so far.
    sums = [np.zeros(1)] + [np.empty(0)] * len(first)
    for value in pooled:
        for size in range(len(first), 0, -1):
            sums[size] = np.concatenate((sums[size], sums[size - 1] + value))

    def gap(total: Any) -> Any:
        return np.abs(total / len(first) - (pooled.sum() - total) / len(second))

    # The tolerance counts the ties that rounding has parted, the arrangement observed among them.
    rounding = 1e-12 * max(1.0, float(np.abs(pooled).max()))
    return float(np.mean(gap(sums[-1]) >= gap(pooled[: len(first)].sum()) - rounding))


def _variance(values: Sequence[float]) -> float:
    if min(values) == max(values):
        return 0.0  # of equal values the rounding of the mean must not become a spread
    mean = math.fsum(values) / len(values)
    return math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def normal_quantile(confidence: float = CONFIDENCE) -> float:
    """Standard errors to either side of a mean that cover it with this confidence."""
    from scipy.stats import norm  # noqa: PLC0415 - slow to import

    return float(norm.ppf((1 + confidence) / 2))


def _quantile(freedom: float, confidence: float) -> float:
    from scipy.stats import t  # noqa: PLC0415 - slow to import

    return float(t.ppf((1 + confidence) / 2, freedom))
