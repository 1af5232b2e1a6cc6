"""The figures of a report, a file each: records in, figures out, one a threat where there are several."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from reinforced.report.figure import Figure
from reinforced.report.figures.comparison import comparison
from reinforced.report.figures.compute import compute
from reinforced.report.figures.entropy import entropy
from reinforced.report.figures.epsilon import epsilon
from reinforced.report.figures.landscape import landscape
from reinforced.report.figures.path import path
from reinforced.report.figures.static import static
from reinforced.report.figures.steps import steps
from reinforced.report.figures.training import training
from reinforced.report.figures.transfer import transfer
from reinforced.report.records import RunRecord

Draw = Callable[[Sequence[RunRecord]], list[Figure]]

FIGURES: tuple[tuple[str, Draw, str], ...] = (
    ("Accuracy left", comparison, "reinforced evaluate RUN"),
    ("Robust accuracy over epsilon", epsilon, "reinforced evaluate RUN --curve epsilon"),
    ("Robust accuracy over iterations", steps, "reinforced evaluate RUN --curve steps"),
    ("Transfer", transfer, "reinforced evaluate RUN --curve models"),
    ("Training curves", training, "reinforced train RECIPE"),
    ("Robust accuracy against compute", compute, "reinforced evaluate RUN --checkpoint 20"),
    ("Along the PGD path", path, "reinforced indicators RUN"),
    ("Static indicators", static, "reinforced indicators RUN"),
    ("Entropy of the predictions", entropy, "reinforced indicators RUN"),
    ("Loss landscape", landscape, "reinforced landscape RUN -o RUN/diagnostics/landscape/image-0"),
)
"""Title, function, and the command that records what it needs, in the order of the page."""


def draw_all(records: Sequence[RunRecord]) -> tuple[list[Figure], list[str]]:
    """All figures that something was recorded for, their keys unique, and a line for each kind without."""
    figures: list[Figure] = []
    absent = []
    keys: set[str] = set()
    for title, function, command in FIGURES:
        found = function(records)
        if not found:
            absent.append(f"{title}: not measured; `{command}`")
        for figure in found:
            key, turn = figure.key, 1
            while key in keys:
                turn += 1
                key = f"{figure.key}-{turn}"
            keys.add(key)
            figures.append(replace(figure, key=key))
    return figures, absent
