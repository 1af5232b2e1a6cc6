"""Drawings of a record's tables: curves through a point a row, lines over values that are no shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reinforced.report.figure import Figure, Lines
from reinforced.studies.reproduce.drawings import draw, figure_of

ROWS = {"weak": [0], "middling": [0, 1], "strong": [0], "other": [0]}
CURVES = {"ours": ["weak", "middling", "strong"], "theirs": ["other"]}


def cell(row: str, column: str, mean: float | None, spread: float | None) -> dict[str, Any]:
    base = {"row": row, "column": column, "unit": "share"}
    if mean is None:
        return base | {"state": "not run"}
    low, high = (None, None) if spread is None else (mean - spread, mean + spread)
    return base | {"state": "measured", "mean": mean, "low": low, "high": high}


def record(figure: dict[str, Any], *cells: dict[str, Any], unit: str = "share") -> dict[str, Any]:
    columns = [
        {"id": name, "title": f"{name} accuracy", "unit": unit, "at": name.partition("@")[2]}
        for name in dict.fromkeys(one["column"] for one in cells)
    ]
    table = {"number": "1", "title": "All", "rows": list(ROWS), "columns": columns, "figure": figure}
    rows = [{"label": label, "seeds": seeds} for label, seeds in ROWS.items()]
    return {"seeds": [0, 1], "rows": rows, "tables": [table], "cells": list(cells)}


def drawn(values: dict[str, Any]) -> tuple[Figure, Lines]:
    figure = figure_of(values, values["tables"][0], "made")
    assert figure is not None
    (panel,) = figure.panels
    assert isinstance(panel, Lines)
    return figure, panel


def traded(clean: float | None = 0.6) -> dict[str, Any]:
    figure = {"x": "clean", "y": "robust", "log": False, "curves": CURVES}
    clean_of = {"weak": 0.8, "middling": 0.7, "strong": clean, "other": 0.75}
    robust_of = {"weak": 0.1, "middling": 0.2, "strong": 0.3, "other": 0.15}
    cells = [cell(row, "clean", mean, 0.02) for row, mean in clean_of.items()]
    cells += [cell(row, "robust", mean, 0.05) for row, mean in robust_of.items()]
    return record(figure, *cells)


def test_curves_join_a_point_a_row_with_both_its_intervals() -> None:
    figure, panel = drawn(traded())
    assert panel.x[0].label == "clean accuracy"
    assert panel.y.label == "robust accuracy"
    assert panel.x[0].percent
    assert panel.y.percent
    curve, *level = [line for line in panel.lines if line.name == "ours"]
    assert curve.x[0].tolist() == [0.8, 0.7, 0.6]
    assert curve.y.tolist() == [0.1, 0.2, 0.3]
    assert curve.span == "bars"
    assert curve.low is not None
    assert curve.low.tolist() == pytest.approx([0.05, 0.15, 0.25])
    assert [line.x[0].tolist() for line in level] == [
        pytest.approx([0.78, 0.82]),
        pytest.approx([0.68, 0.72]),
        pytest.approx([0.58, 0.62]),
    ]
    assert [line.y.tolist() for line in level] == [[0.1, 0.1], [0.2, 0.2], [0.3, 0.3]]
    assert [name for name, _, _ in figure.legend] == ["ours", "theirs"]
    assert figure.caption == "Mean over each row's seeds; 95 % interval of seeds and images."


def test_a_curve_with_a_cell_that_was_not_run_is_left_out(tmp_path: Path) -> None:
    values = traded(clean=None)
    figure, _ = drawn(values)
    assert [(name, slot) for name, slot, _ in figure.legend] == [("theirs", 1)]
    assert figure.caption == "Mean over seeds 0; 95 % interval of seeds and images."
    (file,) = draw({"made-cpu": values}, tmp_path)
    assert file.name == "made-cpu-1.svg"
    assert "theirs" in file.read_text()


def test_values_that_are_no_share_are_drawn_under_their_own_label() -> None:
    cells = [cell(row, f"cosine@{at}", 0.1 * at, None) for row in ROWS for at in (1, 2)]
    figure = {"x": "PGD step", "y": "cosine to the gradient before", "log": False, "curves": {}}
    _, panel = drawn(record(figure, *cells, unit="number"))
    assert panel.y.label == "cosine to the gradient before"
    assert not panel.y.percent
    assert panel.lines[0].x[0].tolist() == [1.0, 2.0]
    assert np.allclose(panel.lines[0].y, [0.1, 0.2])


def test_a_record_of_before_there_were_curves_is_drawn_as_it_was() -> None:
    cells = [cell(row, f"pgd@{at}", 0.5, 0.01) for row in ROWS for at in (10, 20)]
    figure, panel = drawn(record({"x": "epoch", "log": False}, *cells))
    assert panel.y.label == "accuracy"
    assert len(figure.legend) == len(ROWS)


@pytest.mark.parametrize(("values", "whole"), [((10, 20, 30), True), ((0.5, 1, 2), False)])
def test_epochs_are_counted_in_whole_numbers(values: tuple[float, ...], whole: bool) -> None:
    cells = [cell(row, f"pgd@{at:g}", 0.5, 0.01) for row in ROWS for at in values]
    _, panel = drawn(record({"x": "epoch", "log": False, "curves": {}}, *cells))
    assert panel.x[0].whole is whole


def test_epochs_are_marked_in_round_steps(tmp_path: Path) -> None:
    cells = [cell(row, f"pgd@{at}", 0.5, 0.01) for row in ROWS for at in (10, 20, 30)]
    (file,) = draw({"made-cpu": record({"x": "epoch", "log": False}, *cells)}, tmp_path)
    text = file.read_text()
    assert all(f"<!-- {epoch} -->" in text for epoch in (10, 15, 20, 25, 30))
    assert "<!-- 12" not in text
