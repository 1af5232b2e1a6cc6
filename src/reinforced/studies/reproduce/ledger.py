"""Whether a claim holds: its conditions against the intervals of its cells.

A claim of m conditions holds if each does at 95 %. It does not hold if one is violated at 1 - 5 %/m, for of
m true conditions one or other would be violated by chance more often than one alone (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from reinforced.studies.reproduce.imagewise import over_images, paired_error
from reinforced.studies.reproduce.records import NOT_RUN
from reinforced.studies.statistics import CONFIDENCE, contrast, estimate, normal_quantile

Cells = Mapping[tuple[str, str], Mapping[str, Any]]
Answer = Literal["holds", "does not hold", "undecided", "not testable here", "not run"]


class Span(NamedTuple):
    """A figure and its 95 % interval, which spans everything where nothing is known of it."""

    mean: float
    low: float
    high: float


def difference(
    first: Mapping[str, Any], second: Mapping[str, Any], confidence: float = CONFIDENCE
) -> Span | None:
    """One cell minus another; ``None`` where one was not run.

    The interval holds both Welch's over seeds, which takes the images for granted, and the one that other
    images would give with these seeds. A cell of one seed says nothing of its method, so against it there is
    no interval; nor is there where no seed differs and the figure is of no images.
    """
    if first.get("mean") is None or second.get("mean") is None:
        return None
    mean = first["mean"] - second["mean"]
    one, other = ([value["value"] for value in cell["values"]] for cell in (first, second))
    if min(len(one), len(other)) < 2:
        return Span(mean, -math.inf, math.inf)
    found = contrast(one, other, confidence)
    ends = [] if found.low is None or found.high is None else [found.low, found.high]
    error = paired_error(first, second)
    if error is not None:
        half = normal_quantile(confidence) * error
        ends += [mean - half, mean + half]
    return _spanned(mean, ends)


def span(cell: Mapping[str, Any], confidence: float = CONFIDENCE) -> Span | None:
    """A cell's figure with what seeds and images allow; ``None`` where it was not run or is a word."""
    if cell.get("mean") is None:
        return None
    values = [value["value"] for value in cell["values"]]
    found = estimate(values, confidence=confidence) if len(set(values)) > 1 else None
    seeds = [] if found is None or found.low is None or found.high is None else [found.low, found.high]
    # No share lies beyond its ends, whatever a t-interval says.
    least, most = (cell["least"], 1.0) if cell["unit"] == "share" else (-math.inf, math.inf)
    ends = [min(max(end, least), most) for end in (*seeds, *over_images(cell, confidence))]
    return _spanned(cell["mean"], ends)


def answer(claim: Mapping[str, Any], cells: Cells) -> Answer:
    """Of a claim in a record; what it takes for granted (``given``) is looked for in the measured figures."""
    if not claim["conditions"]:
        return "not testable here"
    granted = [_granted(one, cells) for one in claim["given"]]
    if None in granted:
        return "not run"
    if not all(granted):
        return "not testable here"
    each = [_condition(one, cells, len(claim["conditions"])) for one in claim["conditions"]]
    order: Sequence[Answer] = ("does not hold", "not run", "undecided", "holds")
    return next(one for one in order if one in each)


def evidence(condition: Mapping[str, Any], cells: Cells, confidence: float = CONFIDENCE) -> Span | None:
    """The figure that a condition is about."""
    first = _at(condition["cell"], cells)
    if condition["minus"] is None:
        return span(first, confidence)
    return difference(first, _at(condition["minus"], cells), confidence)


def _granted(condition: Mapping[str, Any], cells: Cells) -> bool | None:
    found = evidence(condition, cells)
    if found is None:
        return None
    least, most = _bounds(condition)
    return least <= found.mean <= most


def _condition(condition: Mapping[str, Any], cells: Cells, among: int) -> Answer:
    """Of one condition among as many as the claim has."""
    found = evidence(condition, cells)
    surely = evidence(condition, cells, 1 - (1 - CONFIDENCE) / among)
    if found is None or surely is None:
        return "not run"
    least, most = _bounds(condition)
    if least <= found.low and found.high <= most:
        return "holds"
    return "does not hold" if surely.high < least or surely.low > most else "undecided"


def _bounds(condition: Mapping[str, Any]) -> tuple[float, float]:
    least, most = condition["least"], condition["most"]
    return -math.inf if least is None else least, math.inf if most is None else most


def _spanned(mean: float, ends: Sequence[float]) -> Span:
    """What all allow; everything, where neither seeds nor images say anything."""
    return Span(mean, min(ends), max(ends)) if ends else Span(mean, -math.inf, math.inf)


def _at(term: Mapping[str, str], cells: Cells) -> Mapping[str, Any]:
    return cells.get((term["row"], term["column"]), {"state": NOT_RUN})
