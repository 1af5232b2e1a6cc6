"""The dynamic indicators: what a PGD path meets, step by step."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reinforced.report import palette
from reinforced.report.figure import Axis, Figure, Line, Lines, Values
from reinforced.report.figures.measured import Measured, by_threat
from reinforced.report.figures.over_seeds import t_interval
from reinforced.report.figures.words import course, ranged, slug
from reinforced.report.records import RunRecord

MIDDLE = (0.25, 0.5, 0.75)
# Name, title, the step its first row belongs to, its axis, and the values that are possible.
_PANELS = (
    ("path_norm", "Gradient norm", 0, Axis("gradient norm", log=True), (0.0, math.inf)),
    ("path_cosine", "Cosine with the step before", 1, Axis("cosine"), (-1.0, 1.0)),
    ("path_signs", "Gradient signs kept", 1, Axis("share of pixels", percent=True), (0.0, 1.0)),
    ("batch_variance", "Scatter of directions across images", 0, Axis("1 - mean cosine"), (0.0, 1.0)),
    ("path_progress", "Rise of the loss", 1, Axis("loss above the start"), (-math.inf, math.inf)),
)


def path(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat, the methods overlaid."""
    return [figure for threat, found in by_threat(records).items() for figure in _figure(threat, found)]


def _figure(threat: str, found: Sequence[Measured]) -> list[Figure]:
    panels, absent = [], []
    for name, title, first, y, possible in _PANELS:
        lines = {one.method.label: _line(one, name, first, possible) for one in found}
        absent += [f"{label}: no {name} under {threat}" for label, line in lines.items() if line is None]
        drawn = tuple(line for line in lines.values() if line is not None)
        if y.log:
            zeros = {line.name: int((line.y <= 0).sum()) for line in drawn}
            absent += [f"{label}: {name} is zero at {n} steps, not drawn" for label, n in zeros.items() if n]
        if drawn:
            panels.append(Lines(title, (Axis("PGD step", whole=True),), y, drawn))
    if not panels:
        return []
    told = "; ".join(course(line, "step", shares=False) for line in panels[0].lines)
    about = dict.fromkeys(line.about for panel in panels for line in panel.lines if line.about)
    bands = f" Bands: {' or '.join(about)}." if about else ""
    images = ranged((number for one in found for number in one.images), "image")
    return [
        Figure(
            slug("path", threat),
            f"Along the PGD path ({threat})",
            f"Medians over {images} at each step of PGD on the cross-entropy, which goes on when an image is "
            "broken; of several seeds their mean. Scatter across images is one number a step."
            f"{bands}",
            f"Curves over the steps of a PGD path. {panels[0].title}: {told}.",
            tuple(panels),
            columns=2,
            missing=tuple(absent),
        )
    ]


def _line(one: Measured, name: str, first: int, possible: tuple[float, float]) -> Line | None:
    rows = one.values(name)
    if not rows:
        return None
    length = max(len(row) for row in rows)
    middles = np.stack([_padded(_middle(row), length) for row in rows])
    if len(rows) > 1:
        value, low, high = t_interval(middles[:, 1], *possible)
        about = f"95 % t-interval over {len(rows)} seeds"
    else:
        low, value, high = middles[0]
        about = "25th to 75th percentile of the images (one seed)" if rows[0].ndim > 1 else ""
    return Line(
        one.method.label,
        one.method.slot,
        (np.arange(first, first + length, dtype=np.float64),),
        value,
        low if about else None,
        high if about else None,
        dash=palette.DASHES[palette.variant(one.method.slot)],
        about=about,
    )


def _middle(values: Values) -> Values:
    """(T, N) to its 25th, 50th and 75th percentile over images, (3, T); (T,) three times itself."""
    if values.ndim == 1:
        return np.stack([values] * 3)
    found = np.full((3, len(values)), np.nan)
    known = ~np.isnan(values).all(axis=1)
    if known.any():
        found[:, known] = np.nanquantile(values[known], MIDDLE, axis=1)
    return found


def _padded(values: Values, length: int) -> Values:
    """(3, T) to (3, length): a path of fewer steps ends earlier."""
    return np.pad(values, ((0, 0), (0, length - values.shape[1])), constant_values=np.nan)
