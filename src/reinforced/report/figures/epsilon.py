"""Robust accuracy over the budget."""

from __future__ import annotations

from collections.abc import Sequence

from reinforced.report.figure import Axis, Figure
from reinforced.report.figures.curve import curves
from reinforced.report.records import RunRecord


def epsilon(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat; a curve that does not fall to zero in the end says that the attack fails."""
    return curves(records, "epsilon", Axis("epsilon"), "Robust accuracy over epsilon")
