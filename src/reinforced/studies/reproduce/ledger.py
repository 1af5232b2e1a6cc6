"""Whether a claim holds: its conditions against the intervals of its cells."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from reinforced.attacks.intervals import clopper_pearson
from reinforced.studies.reproduce.records import NOT_RUN
from reinforced.studies.statistics import contrast

Answer = Literal["holds", "does not hold", "undecided", "not testable here", "not run"]


class Span(NamedTuple):
    """A figure and its 95 % interval, which spans everything where nothing is known of it."""

    mean: float
    low: float
    high: float


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> Span | None:
    """One cell minus another, with Welch's 95 % interval over seeds; ``None`` where one was not run.

    Where no seed of either differs, it is what the two cells' own intervals allow. A cell of one seed says
    nothing of its method, so against it there is no interval.
    """
    if first.get("mean") is None or second.get("mean") is None:
        return None
    mean = first["mean"] - second["mean"]
    values = [[value["value"] for value in cell["values"]] for cell in (first, second)]
    if min(map(len, values)) < 2:
        return Span(mean, -math.inf, math.inf)
    found = contrast(*values)
    if found.low is not None and found.high is not None:
        return Span(mean, found.low, found.high)
    one, other = _own(first), _own(second)
    return Span(mean, one.low - other.high, one.high - other.low)


def span(cell: Mapping[str, Any]) -> Span | None:
    """A cell's figure; ``None`` where it was not run or is a word.

    A t-interval over seeds takes the images for granted, so a share of images is also allowed what they
    allow at its mean (Clopper-Pearson).
    """
    if cell.get("mean") is None:
        return None
    own, images = _own(cell), cell["images"]
    if cell["unit"] != "share" or images is None:
        return own
    low, high = clopper_pearson(round(own.mean * images), images)
    return Span(own.mean, min(own.low, low), max(own.high, high))


def answer(claim: Mapping[str, Any], cells: Mapping[tuple[str, str], Mapping[str, Any]]) -> Answer:
    """Of a claim in a record."""
    if not claim["conditions"]:
        return "not testable here"
    each = [_condition(one, cells) for one in claim["conditions"]]
    order: Sequence[Answer] = ("does not hold", "not run", "undecided", "holds")
    return next(one for one in order if one in each)


def evidence(condition: Mapping[str, Any], cells: Mapping[tuple[str, str], Mapping[str, Any]]) -> Span | None:
    """The figure that a condition is about."""
    first = _at(condition["cell"], cells)
    if condition["minus"] is None:
        return span(first)
    return difference(first, _at(condition["minus"], cells))


def _condition(condition: Mapping[str, Any], cells: Mapping[tuple[str, str], Mapping[str, Any]]) -> Answer:
    found = evidence(condition, cells)
    if found is None:
        return "not run"
    least = -math.inf if condition["least"] is None else condition["least"]
    most = math.inf if condition["most"] is None else condition["most"]
    if least <= found.low and found.high <= most:
        return "holds"
    return "does not hold" if found.high < least or found.low > most else "undecided"


def _own(cell: Mapping[str, Any]) -> Span:
    low, high = cell["low"], cell["high"]
    return Span(cell["mean"], -math.inf if low is None else low, math.inf if high is None else high)


def _at(term: Mapping[str, str], cells: Mapping[tuple[str, str], Mapping[str, Any]]) -> Mapping[str, Any]:
    return cells.get((term["row"], term["column"]), {"state": NOT_RUN})
