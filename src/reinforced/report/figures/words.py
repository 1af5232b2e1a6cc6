"""Words of captions, and of what a figure shows to those who do not see it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence

import numpy as np

from reinforced.report.figure import Line, short
from reinforced.report.figures.over_seeds import Estimate, Method

WHISKERS = "Boxes: 25th to 75th percentile and median; whiskers: 5th to 95th."


def slug(*parts: str) -> str:
    """A key of letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")[:80].strip("-")


def percent(share: float) -> str:
    """A share as people read it."""
    return "not measured" if math.isnan(share) else f"{share:.1%}"


def counted(number: int, noun: str) -> str:
    """``3 seeds``, ``1 seed``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def ranged(numbers: Iterable[int], noun: str) -> str:
    """``300 images``, or ``64 to 300 images`` where they differ."""
    found = sorted(numbers)
    if not found:
        return f"an unknown number of {noun}s"
    low, high = found[0], found[-1]
    return counted(high, noun) if low == high else f"{low:,} to {high:,} {noun}s"


def seeds(methods: Sequence[Method]) -> str:
    """How many seeds each method has."""
    return ranged((len(method.runs) for method in methods), "seed") + " a method"


def intervals(estimates: Iterable[Estimate], shape: str = "Bars") -> str:
    """The sentence that says what is drawn around the values."""
    about = list(dict.fromkeys(one.about for one in estimates if one.about))
    return f"{shape}: {' or '.join(about)}." if about else "No interval was recorded."


def course(line: Line, axis: str, shares: bool = True) -> str:
    """Where a curve begins and ends."""
    known = np.flatnonzero(~np.isnan(line.y))
    if not len(known):
        return f"{short(line.name)}: not measured"
    first, last = known[0], known[-1]
    begin, end = (percent(line.y[at]) if shares else f"{line.y[at]:.3g}" for at in (first, last))
    if first == last:
        return f"{short(line.name)}: {begin} at {axis} {line.x[0][first]:.4g}"
    at = f"at {axis} {line.x[0][first]:.4g} to {end} at {line.x[0][last]:.4g}"
    return f"{short(line.name)}: from {begin} {at}"
