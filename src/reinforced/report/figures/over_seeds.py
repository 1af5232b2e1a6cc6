"""Runs that differ only in their seed as one method, and what its figures are over the seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reinforced.attacks.intervals import clopper_pearson
from reinforced.report.figure import Values
from reinforced.report.records import RunRecord

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Method:
    """A method: its label, its colour's slot, and its runs, one a seed."""

    label: str
    slot: int
    runs: tuple[RunRecord, ...]


@dataclass(frozen=True, eq=False)
class Estimate:
    """Of a method at T points: (T,) ``value``, ``low``, ``high``; ``seeds`` of which it is, at most.

    ``about`` says what the interval is; it is over seeds only where there are several.
    """

    value: Values
    low: Values
    high: Values
    seeds: int
    about: str


def by_method(records: Sequence[RunRecord]) -> list[Method]:
    """The methods in the order given; of runs with the same seed the first, for they are one sample."""
    groups: dict[str, dict[object, RunRecord]] = {}
    for record in records:
        seed: object = record.path if record.seed is None else record.seed
        groups.setdefault(record.method, {}).setdefault(seed, record)
    return [
        Method(label, next(iter(runs.values())).slot, tuple(runs.values())) for label, runs in groups.items()
    ]


def t_interval(
    rows: Values, least: float = -math.inf, most: float = math.inf
) -> tuple[Values, Values, Values]:
    """Mean over seeds with the 95 % t-interval, (S, T) to (T,) each; cut to the values that are possible.

    What is not finite is left out. Where fewer than two seeds have a value there is no interval.
    """
    from scipy.stats import t  # noqa: PLC0415 - slow to import

    rows = np.where(np.isfinite(rows), rows, np.nan)
    count = (~np.isnan(rows)).sum(axis=0)
    several = count > 1
    mean = np.divide(np.nansum(rows, axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)
    squares = np.nansum(np.square(rows - mean), axis=0)
    # Of equal values the rounding of the mean must not become a spread.
    squares = np.where(np.fmax.reduce(rows) == np.fmin.reduce(rows), 0.0, squares)
    variance = np.divide(squares, count - 1, out=np.full(count.shape, np.nan), where=several)
    half = t.ppf((1 + CONFIDENCE) / 2, np.maximum(count - 1, 1)) * np.sqrt(variance / np.maximum(count, 1))
    return mean, np.maximum(mean - half, least), np.minimum(mean + half, most)


def over_images(share: float, images: int) -> tuple[float, float]:
    """A share of images with its Clopper-Pearson interval; not-a-number for an unknown share."""
    if math.isnan(share) or images < 1:
        return math.nan, math.nan
    return clopper_pearson(min(images, max(0, round(share * images))), images, CONFIDENCE)


def of_shares(rows: Sequence[tuple[Values, Values, Values]]) -> Estimate:
    """A run's (value, low, high) a row: several as mean and t-interval over seeds, one as it is."""
    known = [row for row in rows if not np.isnan(row[0]).all()]
    if len(known) > 1:
        mean, low, high = t_interval(np.stack([row[0] for row in known]), 0.0, 1.0)
        return Estimate(mean, low, high, len(known), f"95 % t-interval over {len(known)} seeds")
    value, low, high = (known or list(rows))[0]
    about = "95 % Clopper-Pearson interval over images" if not np.isnan(low).all() else ""
    return Estimate(value, low, high, len(known), about)
