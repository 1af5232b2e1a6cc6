"""A figure with its interval, of a cell or of two: what other seeds and other test images would allow.

Both drawn anew at once: half-widths over seeds and over images are added in quadrature, on either side
(MOVER, Zou & Donner 2008, Statistics in Medicine 27). What hangs on seed and image together is in both, so
the interval is rather too wide than too narrow.
"""

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

    Over seeds it is Welch's, and between two columns of one row, which are of the same runs, the t-interval
    of the differences run by run. A cell of one seed says nothing of its method, so against it there is no
    interval; nor is there where no seed differs and the figure is of no images.
    """
    if first.get("mean") is None or second.get("mean") is None:
        return None
    mean = first["mean"] - second["mean"]
    one, other = ([value["value"] for value in cell["values"]] for cell in (first, second))
    if min(len(one), len(other)) < 2:
        return Span(mean, -math.inf, math.inf)
    if _same_runs(first, second):
        seeds = _over_seeds([a - b for a, b in zip(one, other, strict=True)], confidence)
    else:
        found = contrast(one, other, confidence)
        seeds = _ends(found.low, found.high)
    error = paired_error(first, second)
    half = normal_quantile(confidence) * (error or 0)
    return _joint(mean, seeds, () if error is None else (mean - half, mean + half))


def span(cell: Mapping[str, Any], confidence: float = CONFIDENCE) -> Span | None:
    """A cell's figure with what seeds and images allow; ``None`` where it was not run or is a word."""
    if cell.get("mean") is None:
        return None
    values = [value["value"] for value in cell["values"]]
    found = _joint(cell["mean"], _over_seeds(values, confidence), over_images(cell, confidence))
    least, most = bounds(cell)  # nothing lies beyond its natural ends, whatever an interval says
    known = found.high < math.inf
    return found._replace(low=max(found.low, least), high=min(found.high, most)) if known else found


def bounds(of: Mapping[str, Any]) -> tuple[float, float]:
    """``least`` and ``most`` of a cell or a condition; where it has none, infinitely far."""
    least, most = of["least"], of["most"]
    return -math.inf if least is None else least, math.inf if most is None else most


def _same_runs(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    seeds = [[value["seed"] for value in cell["values"]] for cell in (first, second)]
    return bool(first["row"] == second["row"] and seeds[0] == seeds[1])


def _over_seeds(values: Sequence[float], confidence: float) -> tuple[float, ...]:
    """The ends that other seeds allow the mean; none where no seed differs."""
    if min(values) == max(values):
        return ()
    found = estimate(values, confidence=confidence)
    return () if found is None else _ends(found.low, found.high)


def _ends(low: float | None, high: float | None) -> tuple[float, ...]:
    return () if low is None or high is None else (low, high)


def _joint(mean: float, *parts: Sequence[float]) -> Span:
    """What seeds and images allow together; everything, where neither says anything."""
    known = [part for part in parts if part]
    if not known:
        return Span(mean, -math.inf, math.inf)
    low, high = (math.hypot(*(mean - part[side] for part in known)) for side in (0, 1))
    return Span(mean, mean - low, mean + high)
