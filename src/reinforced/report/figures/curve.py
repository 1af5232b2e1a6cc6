"""Robust accuracy along what an evaluation's curve runs over: epsilon or steps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reinforced.report import palette
from reinforced.report.evaluations import CurveRecord
from reinforced.report.figure import Axis, Figure, Line, Lines, Values
from reinforced.report.figures.over_seeds import Estimate, Method, by_method, of_shares
from reinforced.report.figures.words import course, intervals, ranged, seeds, slug
from reinforced.report.records import RunRecord


def curves(records: Sequence[RunRecord], over: str, axis: Axis, title: str) -> list[Figure]:
    """A figure a threat of the curves ``over`` something."""
    threats = dict.fromkeys(c.threat for record in records for c in record.curves if c.over == over)
    figures = []
    for threat in threats:
        drawn, estimates, absent, used = [], [], [], []
        for method in by_method(records):
            found = _of(method, over, threat)
            if not found:
                absent.append(f"{method.label}: no curve over {over} under {threat}")
                continue
            line, estimate = _line(method, found)
            drawn.append(line)
            used += found
            estimates.append(estimate)
        what = Lines(threat, (axis,), Axis("robust accuracy", percent=True, limits=(0, 1)), tuple(drawn))
        if not drawn:
            continue
        figures.append(
            Figure(
                slug("robust-accuracy-over", over, threat),
                f"{title} ({threat})",
                f"Robust accuracy under {_attacks(used)}, over {ranged(_images(used), 'image')}, "
                f"{seeds(by_method(records))}. {intervals(estimates, 'Bars or bands')}",
                f"Curves of robust accuracy. {'; '.join(course(line, axis.label) for line in drawn)}.",
                (what,),
                missing=tuple(absent),
            )
        )
    return figures


def _of(method: Method, over: str, threat: str) -> list[CurveRecord]:
    curves = (c for run in method.runs for c in run.curves if c.over == over and c.threat == threat)
    return [curve for curve in curves if any(map(math.isfinite, curve.at))]


def _attacks(used: Sequence[CurveRecord]) -> str:
    """The attack of the last point; an older record does not name it."""
    return " or ".join(dict.fromkeys(curve.attack or "PGD" for curve in used))


def _images(used: Sequence[CurveRecord]) -> list[int]:
    return [curve.images for curve in used if curve.images]


def _line(method: Method, found: Sequence[CurveRecord]) -> tuple[Line, Estimate]:
    at = np.array(sorted({place for curve in found for place in curve.at if math.isfinite(place)}))
    estimate = of_shares([_placed(curve, at) for curve in found])
    line = Line(
        method.label,
        method.slot,
        (at,),
        estimate.value,
        estimate.low,
        estimate.high,
        span="band" if estimate.seeds > 1 else "bars",
        dash=palette.DASHES[palette.variant(method.slot)],
        markers=True,
        about=estimate.about,
    )
    return line, estimate


def _placed(curve: CurveRecord, at: Values) -> tuple[Values, Values, Values]:
    known = zip(curve.at, curve.robust_accuracy, curve.intervals, strict=True)
    points = {place: (share, *interval) for place, share, interval in known}
    found = np.array([points.get(place, (math.nan,) * 3) for place in at.tolist()])
    return found[:, 0], found[:, 1], found[:, 2]
