"""Accuracy during training, over epochs, passes or seconds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from reinforced.report import palette
from reinforced.report.figure import Axis, Figure, Line, Lines, Values
from reinforced.report.figures.over_seeds import Method, by_method, t_interval
from reinforced.report.figures.words import course, seeds
from reinforced.report.records import RunRecord

X = (Axis("epoch", whole=True), Axis("passes"), Axis("seconds"))
"""The columns of ``metrics.jsonl`` that a curve can run over."""
_PANELS: dict[str, Callable[[RunRecord], Values]] = {
    "validation accuracy": lambda run: np.array(run.column("validation_accuracy")),
    "robust validation accuracy": lambda run: np.array(run.column("robust_validation_accuracy")),
    "train minus validation accuracy": lambda run: (
        np.array(run.column("train_accuracy")) - np.array(run.column("validation_accuracy"))
    ),
    "robust: train minus validation": lambda run: (
        np.array(run.column("robust_train_accuracy")) - np.array(run.column("robust_validation_accuracy"))
    ),
}


def training(records: Sequence[RunRecord]) -> list[Figure]:
    """One figure of clean and robust accuracy on validation images, and of what training leads by."""
    methods = [method for method in by_method(records) if any(run.epochs for run in method.runs)]
    panels, absent = [], []
    for title, figure in _PANELS.items():
        ahead = "minus" in title
        found = {method.label: _line(method, figure, -1.0 if ahead else 0.0) for method in methods}
        absent += [f"{label}: no {title}" for label, line in found.items() if line is None]
        lines = tuple(line for line in found.values() if line is not None)
        y = Axis("difference" if ahead else "accuracy", percent=True, limits=None if ahead else (0, 1))
        if lines:
            panels.append(Lines(title[:1].upper() + title[1:], X, y, lines))
    if not panels:
        return []
    told = "; ".join(course(line, "epoch") for line in panels[0].lines)
    robust = " Robust accuracy is that of the probe, a short PGD." if len(panels) > 1 else ""
    return [
        Figure(
            "training-curves",
            "Training curves",
            f"After each epoch, on training and validation images, {seeds(methods)}.{robust} Passes count a "
            "forward and an input gradient as 1, a full backward as 2; seconds are of the machine that "
            f"trained. {_bands(panels)}",
            f"Curves of accuracy during training. {panels[0].title}: {told}.",
            tuple(panels),
            columns=2,
            missing=tuple(absent),
        )
    ]


def _line(method: Method, figure: Callable[[RunRecord], Values], least: float) -> Line | None:
    epochs = sorted({int(at) for run in method.runs for at in run.column("epoch") if math.isfinite(at)})
    rows = np.stack([_placed(run, figure(run), epochs) for run in method.runs])
    kept = ~np.isnan(rows).all(axis=0)
    if not kept.any():
        return None
    mean, low, high = t_interval(rows[:, kept], least, 1.0)
    spent = [
        np.stack([_placed(run, np.array(run.column(axis.label)), epochs) for run in method.runs])
        for axis in X
    ]
    several = not np.isnan(low).all()
    return Line(
        method.label,
        method.slot,
        tuple(t_interval(each[:, kept])[0] for each in spent),
        mean,
        low if several else None,
        high if several else None,
        dash=palette.DASHES[palette.variant(method.slot)],
        markers=int(kept.sum()) < 15,
        about=f"95 % t-interval over {len(method.runs)} seeds" if several else "",
    )


def _placed(run: RunRecord, values: Values, epochs: Sequence[int]) -> Values:
    known = dict(zip(run.column("epoch"), values.tolist(), strict=True))
    return np.array([known.get(float(epoch), np.nan) for epoch in epochs])


def _bands(panels: Sequence[Lines]) -> str:
    about = dict.fromkeys(line.about for panel in panels for line in panel.lines if line.about)
    return f"Bands: {' or '.join(about)}." if about else "One seed a method: no band."
