"""A figure with its interval, of a cell or of two: what other seeds and other test images would allow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from reinforced.studies.reproduce.imagewise import over_images, paired_error
from reinforced.studies.statistics import CONFIDENCE, contrast, estimate, normal_quantile


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
    # Nothing lies beyond its natural ends, whatever a t-interval says.
    least, most = bounds(cell)
    ends = [min(max(end, least), most) for end in (*seeds, *over_images(cell, confidence))]
    return _spanned(cell["mean"], ends)


def bounds(of: Mapping[str, Any]) -> tuple[float, float]:
    """``least`` and ``most`` of a cell or a condition; where it has none, infinitely far."""
    least, most = of["least"], of["most"]
    return -math.inf if least is None else least, math.inf if most is None else most


def _spanned(mean: float, ends: Sequence[float]) -> Span:
    """What all allow; everything, where neither seeds nor images say anything."""
    return Span(mean, min(ends), max(ends)) if ends else Span(mean, -math.inf, math.inf)
