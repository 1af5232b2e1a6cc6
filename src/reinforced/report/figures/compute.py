"""Worst-case accuracy of checkpoints against what training them had cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from reinforced.report import palette
from reinforced.report.evaluations import EvaluationRecord, precedence
from reinforced.report.figure import Axis, Figure, Line, Lines
from reinforced.report.figures.over_seeds import Estimate, Method, by_method, of_shares, t_interval
from reinforced.report.figures.words import counted, course, intervals, seeds, slug
from reinforced.report.reading import number, texts
from reinforced.report.records import RunRecord

X = (Axis("passes"), Axis("epoch", whole=True), Axis("seconds"))
Terms = tuple[tuple[str, ...], int, int, str]
"""Attacks, how many images, after how many, of which data: nothing is compared across them."""


def compute(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat: who reaches more with the same compute."""
    threats = dict.fromkeys(one.threat for record in records for one in record.evaluations)
    return [figure for threat in threats for figure in _figure(threat, records)]


def _figure(threat: str, records: Sequence[RunRecord]) -> list[Figure]:
    trained = [record for record in records if record.epochs]
    terms = Counter(_terms(one) for run in trained for one in run.evaluations if one.threat == threat)
    if not terms:
        return []
    # As many runs of each, those on the usual images come first: the first ones of the runs' own data.
    chosen = max(terms, key=lambda key: (terms[key], not any(key[2:]), key[1]))
    attacks, images = chosen[:2]
    lines, estimates, absent = [], [], []
    for method in by_method(trained):
        found = _line(method, threat, chosen)
        if found is None:
            absent.append(f"{method.label}: no evaluation with these attacks and images under {threat}")
            continue
        lines.append(found[0])
        estimates.append(found[1])
    if not lines:
        return []
    told = "; ".join(course(line, "passes") for line in lines)
    return [
        Figure(
            slug("compute", threat),
            f"Robust accuracy against compute ({threat})",
            f"Worst case under {' and '.join(attacks) or 'attacks unknown'}, {counted(images, 'image')}, "
            f"{seeds(by_method(trained))}, of every checkpoint evaluated so. Passes count a forward and an "
            f"input gradient as 1, a full backward as 2. {intervals(estimates)}",
            f"Points of robust accuracy against training passes. {told}.",
            (Lines(threat, X, Axis("robust accuracy", percent=True, limits=(0, 1)), tuple(lines)),),
            missing=tuple(absent),
        )
    ]


def _terms(one: EvaluationRecord) -> Terms:
    return texts(one.setup, "attacks"), one.images, one.skip, one.data


def _line(method: Method, threat: str, terms: Terms) -> tuple[Line, Estimate] | None:
    found = [_checkpoints(run, threat, terms) for run in method.runs]
    # A kept epoch is the same for every seed, the best one is not: seeds are matched by name.
    names = list(dict.fromkeys(name for one in found for name in one))
    if not names:
        return None
    none = (math.nan,) * 6
    rows = np.array([[one.get(name, none) for name in names] for one in found])  # (seeds, names, 6)
    estimate = of_shares([(row[:, 3], row[:, 4], row[:, 5]) for row in rows])
    spent = [t_interval(rows[:, :, at])[0] for at in range(3)]
    order = np.argsort(spent[0])
    line = Line(
        method.label,
        method.slot,
        tuple(each[order] for each in spent),
        estimate.value[order],
        estimate.low[order],
        estimate.high[order],
        span="bars",
        dash=palette.DASHES[palette.variant(method.slot)],
        markers=True,
        about=estimate.about,
    )
    return line, estimate


def _checkpoints(run: RunRecord, threat: str, terms: Terms) -> Mapping[str, tuple[float, ...]]:
    """Checkpoint to passes, epoch, seconds, worst-case accuracy, and its interval."""
    rows = {number(row, "epoch"): row for row in run.epochs}
    epochs = {"last": max(rows, default=math.nan), "best": number(run.summary, "best_epoch")}
    found: dict[str, tuple[float, ...]] = {}
    for one in sorted(run.evaluations, key=precedence):  # of several seeds the one that leaves least
        if one.threat != threat or _terms(one) != terms:
            continue
        epoch = epochs.get(one.checkpoint)
        row = rows.get(
            float(one.checkpoint) if epoch is None and one.checkpoint.isdecimal() else epoch or 0.0
        )
        if row is not None:
            spent = tuple(number(row, axis.label) for axis in X)
            found[one.checkpoint] = (*spent, one.robust_accuracy, *one.interval)
    return found
