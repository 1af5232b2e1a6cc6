"""Predictive entropy before and after an attack, of right and of wrong predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reinforced.report.figure import Axis, Box, Boxes, Figure, Quantiles, Values, short
from reinforced.report.figures.measured import Measured, by_threat
from reinforced.report.figures.words import WHISKERS, counted, ranged, seeds, slug
from reinforced.report.records import RunRecord

CELLS = ("clean, right", "clean, wrong", "adversarial, right", "adversarial, wrong")


def entropy(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat; a model that is sure of its adversarial mistakes stands out on the right."""
    return [figure for threat, found in by_threat(records).items() for figure in _figure(threat, found)]


def _figure(threat: str, found: Sequence[Measured]) -> list[Figure]:
    boxes, absent = [], []
    for one in found:
        bits, right = one.values("entropy"), one.values("right")
        shapes = [(len(b), b.shape) == (2, r.shape) for b, r in zip(bits, right, strict=False)]
        if shapes and all(shapes) and len(bits) == len(right):
            both = np.concatenate(bits, axis=-1), np.concatenate(right, axis=-1)
            boxes.append(Box(one.method.label, one.method.slot, _cells(*both)))
        else:
            absent.append(f"{one.method.label}: no entropy under {threat}")
    if not boxes:
        return []
    told = "; ".join(
        f"{short(box.name)}: "
        + ", ".join(
            f"{name} {sample.q50:.2g} ({counted(sample.count, 'image')})" if sample.count else f"{name} none"
            for name, sample in zip(CELLS, box.samples, strict=True)
        )
        for box in boxes
    )
    images = ranged((number for one in found for number in one.images), "image")
    return [
        Figure(
            slug("entropy", threat),
            f"Entropy of the predictions ({threat})",
            f"Of {images}, clean and at the end of a PGD path, {seeds([one.method for one in found])}, seeds "
            f"pooled. {WHISKERS} A box is missing where no image falls in its cell.",
            f"Boxes of predictive entropy in bits; medians: {told}.",
            (Boxes(threat, Axis("entropy (bits)"), CELLS, tuple(boxes)),),
            missing=tuple(absent),
        )
    ]


def _cells(bits: Values, right: Values) -> tuple[Quantiles, ...]:
    return tuple(Quantiles.of(bits[row][right[row] == said]) for row in (0, 1) for said in (1, 0))
