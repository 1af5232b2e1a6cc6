"""The static indicators: their distributions over the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from reinforced.report.figure import Axis, Box, Boxes, Figure, Quantiles, short
from reinforced.report.figures.measured import Measured, by_threat
from reinforced.report.figures.words import WHISKERS, ranged, seeds, slug
from reinforced.report.records import RunRecord

# Title and axis of each indicator.
_PANELS = {
    "gradient_norm(ce)": ("Gradient norm, cross-entropy", "loss / pixel"),
    "gradient_norm(margin)": ("Gradient norm, margin", "loss / pixel"),
    "gradient_cosine": ("Cosine of neighbours' gradients", "cosine"),
    "local_linearity": ("Departure from the tangent plane", "loss"),
    "curvature": ("Curvature along the gradient", "loss / pixel²"),
    "logit_margin": ("Logit margin", "logits"),
    "saturation": ("Nines of the confidence", "nines"),
    "path_variance": ("Scatter of an image's path", "1 - mean cosine"),
}
_SPREAD = 50
"""A ratio of the largest to the smallest quantile from which an axis is logarithmic."""


def static(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat, a panel an indicator."""
    return [figure for threat, found in by_threat(records).items() for figure in _figure(threat, found)]


def _figure(threat: str, found: Sequence[Measured]) -> list[Figure]:
    panels, absent = [], []
    for name, (title, label) in _PANELS.items():
        boxes = []
        for one in found:
            values = one.values(name)
            if values:
                sample = Quantiles.of(np.concatenate([each.ravel() for each in values]))
                boxes.append(Box(one.method.label, one.method.slot, (sample,)))
            else:
                absent.append(f"{one.method.label}: no {name} under {threat}")
        if boxes:
            panels.append(Boxes(title, _axis(label, boxes), ("",), tuple(boxes)))
    if not panels:
        return []
    images = ranged((number for one in found for number in one.images), "image")
    medians = ", ".join(f"{short(box.name)} {box.samples[0].q50:.3g}" for box in panels[0].boxes)
    return [
        Figure(
            slug("indicators", threat),
            f"Static indicators ({threat})",
            f"At {images}, {seeds([one.method for one in found])}, seeds pooled. {WHISKERS} Images for which "
            "an indicator is undefined are left out and counted in the table, which has the means too.",
            f"Boxes of {len(panels)} indicators. {panels[0].title}, medians: {medians}.",
            tuple(panels),
            columns=4,
            missing=tuple(absent),
        )
    ]


def _axis(label: str, boxes: Sequence[Box]) -> Axis:
    ends = [end for box in boxes for end in astuple(box.samples[0])[3:] if end == end]  # noqa: PLR0124 - NaN
    wide = bool(ends) and min(ends) > 0 and max(ends) / min(ends) > _SPREAD
    return Axis(label, log=wide)
