"""Indicators of methods under a threat, as several figures take them from the records."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reinforced.report.figure import Values
from reinforced.report.figures.over_seeds import Method, by_method
from reinforced.report.mechanisms import IndicatorRecord
from reinforced.report.reading import number
from reinforced.report.records import RunRecord


@dataclass(frozen=True)
class Measured:
    """A method's indicators, one record a seed that was measured."""

    method: Method
    records: tuple[IndicatorRecord, ...]

    def values(self, name: str) -> list[Values]:
        """The values of indicator ``name``, or of ``name(loss)``, a seed each; none where not measured.

        (N,) or (T, N); what is not finite is not-a-number.
        """
        known = [record.values.get(_named(record, name)) for record in self.records]
        return [
            np.where(np.isfinite(found), found, np.nan).astype(np.float64)
            for found in known
            if found is not None and found.ndim in (1, 2) and found.size
        ]

    @property
    def images(self) -> list[int]:
        """How many images each seed was measured on."""
        counts = (number(record.setup, "images") for record in self.records)
        return [int(count) for count in counts if math.isfinite(count)]


def by_threat(records: Sequence[RunRecord]) -> dict[str, list[Measured]]:
    """Threat to the methods, all of them, with what was measured under it."""
    threats = dict.fromkeys(one.threat for record in records for one in record.indicators)
    return {
        threat: [
            Measured(
                method, tuple(one for run in method.runs for one in run.indicators if one.threat == threat)
            )
            for method in by_method(records)
        ]
        for threat in threats
    }


def _named(record: IndicatorRecord, name: str) -> str:
    if name in record.values:
        return name
    return next((key for key in record.values if key.startswith(f"{name}(")), name)
