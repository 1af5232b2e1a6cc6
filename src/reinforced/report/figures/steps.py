"""Robust accuracy over the number of an attack's steps."""

from __future__ import annotations

from collections.abc import Sequence

from reinforced.report.figure import Axis, Figure
from reinforced.report.figures.curve import curves
from reinforced.report.records import RunRecord


def steps(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat; a curve that still falls says that the attack has not converged."""
    axis = Axis("PGD steps", log=True)
    return curves(records, "steps", axis, "Robust accuracy over iterations")
