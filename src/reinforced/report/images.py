"""What the page needs to show images: the matrix of outcomes and, where they were kept, the pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from reinforced.report.evaluations import EvaluationRecord, Outcomes, first_of
from reinforced.report.figure import plain, short
from reinforced.report.reading import Floats
from reinforced.report.records import RunRecord
from reinforced.report.sprites import Sprites
from reinforced.report.tables import threats


def explorer(records: Sequence[RunRecord]) -> dict[str, Any]:
    """``entries``, one a run and threat, and the ``clean`` sheets that they share."""
    shown = [
        (run, found)
        for threat in threats(records)
        for run in records
        if (found := first_of(run.evaluations, threat)) is not None and found.outcomes is not None
    ]
    sprites = Sprites([found for _, found in shown])
    entries = [_entry(run, found, found.outcomes, sprites) for run, found in shown if found.outcomes]
    return {"entries": entries, "clean": {key: one.to_json() for key, one in sprites.clean.items()}}


def _entry(run: RunRecord, found: EvaluationRecord, outcomes: Outcomes, sprites: Sprites) -> dict[str, Any]:
    return {
        "run": short(run.name),
        "threat": found.threat,
        "slot": run.slot,
        "classes": [short(name, 24) for name in found.classes],
        "labels": outcomes.labels.tolist(),
        "clean": _marks(outcomes.clean.astype(np.float64)),
        "robust": _marks(outcomes.robust.astype(np.float64)),
        "attacks": [{"name": plain(name), "marks": _marks(one)} for name, one in outcomes.attacks.items()],
        "distances": {plain(name): _short(one) for name, one in outcomes.distances.items()},
        "pictures": sprites.of(run, found),
    }


def _marks(values: Floats) -> str:
    """``1`` it stood, ``0`` it broke, ``-`` it was not attacked."""
    return "".join(np.select([values == 1, values == 0], ["1", "0"], "-").tolist())


def _short(values: Floats) -> list[float | None]:
    return [float(f"{value:.3g}") if math.isfinite(value) else None for value in values.tolist()]
