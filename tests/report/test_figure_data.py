"""Figures as data: what names become, quantiles, and that a table holds what is drawn."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.report.figure import (
    Axis,
    Bar,
    Bars,
    Box,
    Boxes,
    Figure,
    Heat,
    Line,
    Lines,
    Quantiles,
    Regions,
    Surface,
    column,
    drawable,
    plain,
    runs_of,
    short,
)

NAN = math.nan


@settings(deadline=None)
@given(st.text())
def test_names_become_one_line_that_any_file_can_hold(name: str) -> None:
    clean = plain(name)
    clean.encode("utf-8")
    assert clean == plain(clean)
    assert "\n" not in clean
    assert len(short(name)) <= 40
    assert json.loads(json.dumps(short(name))) == short(name)


def test_names_keep_their_ends() -> None:
    assert plain(" a\tb\n\x00\u202ec\ud800 ") == "a b c"
    assert short("x" * 40) == "x" * 40
    assert short("seed-0-" + "y" * 10_000 + "-lr-1e-3", 20) == "seed-0-yyyyyy…r-1e-3"


def test_quantiles_leave_out_what_is_not_finite() -> None:
    values = np.array([*range(101), NAN, math.inf], dtype=np.float64)
    found = Quantiles.of(values)
    assert found == Quantiles(101, 2, 50.0, 5.0, 25.0, 50.0, 75.0, 95.0)
    assert Quantiles.of(column([NAN])).count == 0
    assert math.isnan(Quantiles.of(column([NAN])).q50)


def test_logarithmic_axes_have_no_place_for_zero() -> None:
    values = column([1.0, 0.0, -1.0, None])
    np.testing.assert_array_equal(drawable(values, Axis("a", log=True)), [1, NAN, NAN, NAN])
    assert drawable(values, Axis("a")) is values


def test_stretches_without_gaps() -> None:
    assert runs_of(np.array([True, True, False, True])) == [slice(0, 2), slice(3, 4)]
    assert runs_of(np.zeros(3, dtype=np.bool_)) == []


def figure(*panels: object) -> Figure:
    return Figure("key", "title", "caption", "alt", panels)  # type: ignore[arg-type]


def test_tables_hold_what_is_drawn() -> None:
    at, twice = column([1, 2]), column([10, 20])
    line = Line("m", 0, (at, twice), column([0.5, None]), column([0.4, None]), column([0.6, None]), about="t")
    lines = Lines("p", (Axis("epoch"), Axis("passes")), Axis("accuracy"), (line,))
    bar = Bar("m", 0, column([0.5, None]), column([0.4, None]), column([0.6, None]), "t")
    bars = Bars("p", Axis("accuracy"), ("clean", "worst"), (bar,))
    box = Boxes("p", Axis("bits"), ("clean",), (Box("m", 0, (Quantiles.of(at),)),))
    cell = np.array([[0.5, NAN]])
    heat = Heat("p", Axis("to"), Axis("from"), ("a", "b"), ("c",), cell, cell, cell)
    curves, cells, quantiles, grid = figure(lines, bars, box, heat).tables()
    assert curves.heads == ("panel", "series", "epoch", "passes", "value", "low", "high", "interval")
    assert curves.rows == (("p", "m", 1, 10, 0.5, 0.4, 0.6, "t"), ("p", "m", 2, 20, None, None, None, "t"))
    assert cells.rows == (("p", "m", "clean", 0.5, 0.4, 0.6, "t"), ("p", "m", "worst", None, None, None, "t"))
    assert quantiles.rows[0][3:6] == (2, 0, 1.5)
    assert quantiles.rows[0][6] == pytest.approx(1.05)
    assert grid.rows == (("p", "c", "a", 0.5, 0.5, 0.5), ("p", "c", "b", None, None, None))


def test_tables_of_surfaces_and_of_panels_of_one_kind() -> None:
    axis, heights = column([-1, 1]), np.array([[1, 2], [3, np.nan]], dtype=np.float32)
    surface = Surface("s", Axis("a"), Axis("b"), Axis("loss"), axis, heights)
    regions = Regions("s", Axis("a"), Axis("b"), axis, np.array([[0, 0], [0, 1]], dtype=np.int16), ("7", "9"))
    long, shares = figure(surface, regions, regions).tables()
    assert long.rows == (("s", -1, -1, 1), ("s", 1, -1, 2), ("s", -1, 1, 3), ("s", 1, 1, None))
    assert shares.rows == (("s", "7", 0.75), ("s", "9", 0.25)) * 2


def test_a_figure_says_what_there_is_to_choose_and_what_has_a_colour() -> None:
    line = Line("m", 2, (column([1]), column([2])), column([1]), dash="dot")
    drawn = figure(Lines("p", (Axis("epoch"), Axis("passes")), Axis("y"), (line, line)))
    assert drawn.choices == ("epoch", "passes")
    assert drawn.legend == {("m", 2, "dot"): False}
    marked = replace(line, markers=True)  # beside a line of its own that has none, such as an interval's
    assert figure(Lines("p", (Axis("epoch"),), Axis("y"), (marked, line))).legend == {("m", 2, "dot"): True}
    assert figure(Lines("p", (Axis("epoch"),), Axis("y"), ())).choices == ()
