"""Accuracy left on examples that were made on another model."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reinforced.report.evaluations import precedence
from reinforced.report.figure import Axis, Figure, Heat, short
from reinforced.report.figures.over_seeds import over_images
from reinforced.report.figures.words import percent, ranged, slug
from reinforced.report.records import RunRecord

Cells = dict[tuple[str, str], tuple[float, float, float]]
"""(made on, tested on) to accuracy left and its interval."""
_TRANSFER = re.compile(r"transfer\(via=.*?,from=(?P<made>.+)\)", re.DOTALL)
MADE, TESTED = Axis("made on"), Axis("tested on")


def transfer(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat: the matrix of all models, and what evaluations with surrogates found."""
    threats = dict.fromkeys(
        [one.threat for record in records for one in record.transfers]
        + [one.threat for record in records for one in record.evaluations]
    )
    return [figure for threat in threats for figure in _figure(threat, records)]


def _figure(threat: str, records: Sequence[RunRecord]) -> list[Figure]:
    panels, told = [], []
    matrix = _matrix(threat, records)
    if matrix:
        panels.append(_heat("All models, MI-FGSM", matrix))
        known = [one.images for record in records for one in record.transfers if one.threat == threat]
        told.append(
            f"The matrix of all models is over {ranged(filter(None, known), 'image')}, with 95 % "
            "Clopper-Pearson intervals in the table."
        )
    surrogates, images = _surrogates(threat, records)
    if surrogates:
        panels.append(_heat("Surrogates of evaluations", surrogates))
        told.append(
            f"Evaluations with surrogates: on {ranged(images, 'test image')}, with 95 % Clopper-Pearson "
            "intervals in the table; not measured where broken images had been skipped."
        )
    if not panels:
        return []
    cells = {**surrogates, **matrix}
    others = {key: cell[0] for key, cell in cells.items() if key[0] != key[1] and not math.isnan(cell[0])}
    worst = min(others, key=others.__getitem__, default=None)
    said = (
        f"Least is left of {short(worst[1])} by examples made on {short(worst[0])}: {percent(others[worst])}"
        if worst
        else "No transfer from one model to another was measured"
    )
    return [
        Figure(
            slug("transfer", threat),
            f"Transfer ({threat})",
            f"Accuracy that a model (column) keeps on examples made on another (row). {' '.join(told)} Less "
            "than on the diagonal means that the model's own gradients mislead.",
            f"A table in colours of surrogate by target. {said}.",
            tuple(panels),
            columns=2,
        )
    ]


def _matrix(threat: str, records: Sequence[RunRecord]) -> Cells:
    cells: Cells = {}
    for record in records:
        for one in record.transfers:
            if one.threat == threat:
                for made, row in one.cells.items():
                    for tested, cell in row.items():
                        cells.setdefault((made, tested), cell)
    return cells


def _surrogates(threat: str, records: Sequence[RunRecord]) -> tuple[Cells, list[int]]:
    cells: Cells = {}
    images = []
    for record in records:
        for one in sorted(record.evaluations, key=precedence, reverse=True):
            for attack in one.attacks if one.threat == threat else ():
                named = _TRANSFER.fullmatch(attack.name)
                if named is None:
                    continue
                key = (_called(named["made"], records), record.name)
                known = cells.get(key)
                if known is None or math.isnan(known[0]):
                    ends = over_images(attack.accuracy, one.images)
                    cells[key] = (attack.accuracy, *ends)
                    images.append(one.images)
    return cells, images


def _called(made: str, records: Sequence[RunRecord]) -> str:
    """A surrogate as the report calls it: evaluations know it by the path it was given by."""
    exactly = [run.name for run in records if run.path.resolve() == Path(made).resolve()]
    alike = [run.name for run in records if run.path.name == Path(made).name]
    found = exactly or alike
    return found[0] if len(found) == 1 else made


def _heat(title: str, cells: Mapping[tuple[str, str], tuple[float, float, float]]) -> Heat:
    rows, columns = (tuple(dict.fromkeys(key[at] for key in cells)) for at in (0, 1))
    none = (math.nan,) * 3
    values = np.array([[cells.get((row, name), none) for name in columns] for row in rows])
    return Heat(title, TESTED, MADE, columns, rows, values[..., 0], values[..., 1], values[..., 2])
