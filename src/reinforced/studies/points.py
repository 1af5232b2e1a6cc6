"""A method's figures at one point of training, over its seeds, and the differences of methods there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from reinforced.diagnostics.statistics import holm
from reinforced.studies.statistics import FEWEST_SEEDS, Contrast, Estimate, contrast, estimate

DROP = "best minus last"
_SPENT = ("passes", "flops", "seconds")


@dataclass(frozen=True)
class Point:
    """One method at one point.

    Attributes:
        at: ``last epoch``, ``equal epochs``, ``equal compute``, ``best epoch`` or ``best minus last``.
        epochs: of each run, by seed; ``None`` where a run has no such epoch.
        values: figure to its value in each run; accuracies are shares, ``None`` is not measured.
        figures: figure to its estimate over the runs.
    """

    at: str
    epochs: tuple[int | None, ...]
    values: dict[str, tuple[float | None, ...]]
    figures: dict[str, Estimate | None]


@dataclass(frozen=True)
class Difference:
    """Two methods in one figure at one point, first minus second.

    Attributes:
        seeds: how many of each were measured.
        holm: the permutation test's p adjusted over all pairs of methods in this figure at this point;
            ``None`` with one pair.
    """

    figure: str
    at: str
    first: str
    second: str
    seeds: tuple[int, int]
    contrast: Contrast
    holm: float | None


def point(
    at: str, epochs: Iterable[int | None], rows: Sequence[Mapping[str, float | None]], least: float = 0.0
) -> Point:
    """The figures of a method's runs, a row a run; ``least`` bounds shares from below."""
    values = {name: tuple(row[name] for row in rows) for name in rows[0]}
    figures = {
        name: estimate(column, -1.0 if name == "gap" else least, math.inf if name in _SPENT else 1.0)
        for name, column in values.items()
    }
    return Point(at, tuple(epochs), values, figures)


def drop(best: Point, last: Point, names: Sequence[str]) -> Point:
    """What each run's accuracies lost between two points."""

    def lost(name: str, run: int) -> float | None:
        before, after = best.values[name][run], last.values[name][run]
        return None if before is None or after is None else before - after

    rows = [{name: lost(name, run) for name in names} for run in range(len(best.epochs))]
    return point(DROP, (None,) * len(rows), rows, least=-1.0)


def differences(figure: str, at: str, values: Mapping[str, Sequence[float | None]]) -> list[Difference]:
    """All pairs of the methods (label to a value a seed) that have seeds enough."""
    known = {label: [value for value in column if value is not None] for label, column in values.items()}
    enough = [label for label in known if len(known[label]) >= FEWEST_SEEDS]
    pairs = list(combinations(enough, 2))
    contrasts = [contrast(known[first], known[second]) for first, second in pairs]
    ps = [one.p for one in contrasts if one.p is not None]
    adjusted = holm(ps) if len(ps) == len(pairs) > 1 else [None] * len(pairs)
    return [
        Difference(figure, at, first, second, (len(known[first]), len(known[second])), found, corrected)
        for (first, second), found, corrected in zip(pairs, contrasts, adjusted, strict=True)
    ]
