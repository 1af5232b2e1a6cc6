"""Plotly and matplotlib draw the same numbers, and no name is anything but text."""

from __future__ import annotations

import base64
import json
import math
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reinforced.report import palette
from reinforced.report.figure import Axis, Bars, Boxes, Figure, Heat, Line, Lines, Regions, Surface, column
from reinforced.report.figures import draw_all
from reinforced.report.paper import draw, save_paper
from reinforced.report.plotly import escaped, to_plotly
from reinforced.report.records import read_runs
from tests.report.made_up_runs import MadeUp, make_run

HOSTILE = (
    "<script>alert(1)</script>",
    "<b>bold</b><a href='https://example.org'>x</a>",
    "$\\frac{1}{0}$ %{y} %s {0}",
    "long" * 2500,
    "日本語 🦊 عربى \u202egnirts\x00\ud800",
    "]]>--><!-- &amp;",
    "",
)


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> list[Figure]:
    folder = tmp_path_factory.mktemp("runs")
    made = [MadeUp(seed=0), MadeUp(seed=1), MadeUp(recipe="quickstart/sl", landscape=12)]
    paths = [make_run(folder / f"run-{n}", replace(each, landscape=12)) for n, each in enumerate(made)]
    return draw_all(read_runs(paths))[0]


def decoded(array: dict[str, str] | Sequence[float]) -> Any:
    if not isinstance(array, dict):
        return np.array(array)
    kinds = {"f8": "<f8", "f4": "<f4", "i2": "<i2"}
    values = np.frombuffer(base64.b64decode(array["bdata"]), kinds[array["dtype"]])
    return values.reshape([int(n) for n in array["shape"].split(",")]) if "shape" in array else values


def in_light(value: Any) -> Any:
    """What the page does: every ``var(--name)`` in the light theme's colours."""
    if isinstance(value, dict):
        return {key: in_light(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [in_light(inner) for inner in value]
    named = re.fullmatch(r"var\(--([a-z0-9-]+)\)", value) if isinstance(value, str) else None
    return palette.tokens("light")[named[1]] if named else value


def test_plotly_accepts_every_panel_and_json_holds_it(figures: list[Figure]) -> None:
    import plotly.graph_objects as go

    for figure in figures:
        found = json.loads(json.dumps(to_plotly(figure), allow_nan=False))
        assert found["webgl"] == any(isinstance(panel, Surface) for panel in figure.panels)
        assert len(found["panels"]) == len(figure.panels)
        for panel in found["panels"]:
            go.Figure(in_light({"data": panel["data"], "layout": panel["layout"]}))


@pytest.mark.parametrize("choice", [0, 1])
def test_both_renderers_draw_the_numbers_of_the_table(figures: list[Figure], choice: int) -> None:
    kinds = set()
    for figure in figures:
        page, canvas = to_plotly(figure), draw(figure, choice)
        for panel, drawn, axes in zip(figure.panels, page["panels"], canvas.axes, strict=False):
            kinds.add(type(panel))
            _same(panel, drawn, axes, min(choice, len(figure.choices)))
    assert kinds == {Lines, Bars, Boxes, Heat, Surface, Regions}


def _same(panel: Any, drawn: dict[str, Any], axes: Any, choice: int) -> None:
    traces = drawn["data"]
    if isinstance(panel, Lines):
        curves = [(at, trace) for at, trace in enumerate(traces) if trace["mode"] != "none"]
        plots = [line for line in axes.lines if len(line.get_xdata()) and line.get_linestyle() != "None"]
        for (at, trace), line, shown in zip(curves, panel.lines, plots, strict=True):
            x = decoded(drawn["choices"][choice][at] if drawn["choices"] else trace["x"])
            for one in (np.stack([x, decoded(trace["y"])]), np.asarray(shown.get_xydata()).T):
                np.testing.assert_array_equal(one, [line.x[choice if drawn["choices"] else 0], line.y])
    elif isinstance(panel, Bars):
        for bar, trace, shown in zip(panel.bars, traces, axes.containers[::2], strict=True):
            np.testing.assert_array_equal(decoded(trace["y"]), bar.values)
            np.testing.assert_array_equal([patch.get_height() for patch in shown], bar.values)
            upper = bar.values + decoded(trace["error_y"]["array"])
            np.testing.assert_allclose(upper, np.where(np.isnan(bar.high), bar.values, bar.high))
    elif isinstance(panel, Boxes):
        samples = [sample for box in panel.boxes for sample in box.samples if sample.count]
        for field, name in (("q1", "q25"), ("median", "q50"), ("q3", "q75"), ("upperfence", "q95")):
            known = np.concatenate([decoded(trace[field]) for trace in traces])
            np.testing.assert_array_equal(known, [getattr(sample, name) for sample in samples])
        edges = [patch.get_path().vertices[:, 1] for patch in axes.patches]
        np.testing.assert_allclose([edge.min() for edge in edges], [sample.q25 for sample in samples])
    elif isinstance(panel, Heat):
        np.testing.assert_allclose(decoded(traces[0]["z"]), panel.values, rtol=1e-6)
        np.testing.assert_array_equal(axes.images[0].get_array().filled(math.nan), panel.values)
    elif isinstance(panel, Surface):
        np.testing.assert_array_equal(decoded(traces[0]["z"]), panel.heights)
        assert (traces[0]["cmin"], traces[0]["cmax"]) == panel.z.limits == axes.get_zlim()
    else:
        np.testing.assert_array_equal(decoded(traces[0]["z"]), panel.owners)
        np.testing.assert_array_equal(axes.images[0].get_array(), panel.owners)


def test_a_band_is_the_interval_and_leaves_gaps() -> None:
    y = column([1, 2, None, 4, 5])
    line = Line("m", 0, (column(range(5)), column(range(0, 50, 10))), y, y - 1, y + 1)
    panel = Lines("p", (Axis("a"), Axis("b")), Axis("y"), (line,))
    (drawn,) = to_plotly(Figure("k", "t", "c", "a", (panel,)))["panels"]
    band = drawn["data"][0]
    outline = np.stack([decoded(drawn["choices"][1][0]), decoded(band["y"])], axis=1)
    nan = [math.nan, math.nan]
    first = [[0, 0], [10, 1], [10, 3], [0, 2]]
    second = [[30, 3], [40, 4], [40, 6], [30, 5]]
    np.testing.assert_array_equal(outline, [nan, *first, nan, *second, nan])
    assert band["fillcolor"] == "var(--m0-band)"


def test_zeros_are_off_a_logarithmic_axis() -> None:
    line = Line("m", 0, (column([0, 1, 2]),), column([0, 1, 10]), column([0, 0, 5]), column([1, 2, 20]))
    figure = Figure("k", "t", "c", "a", (Lines("p", (Axis("a"),), Axis("y", log=True), (line,)),))
    band, curve = to_plotly(figure)["panels"][0]["data"]
    np.testing.assert_array_equal(decoded(curve["y"]), [math.nan, 1, 10])
    np.testing.assert_array_equal(decoded(band["y"]), [math.nan, 5, 20, math.nan])


def named(name: str) -> Figure:
    """A figure in which everything is called ``name``."""
    value, axis = column([0.5, 0.7]), Axis(name)
    sample = column([[0.5, math.nan]])
    return Figure(
        "key",
        name,
        name,
        name,
        (
            Lines(name, (axis,), axis, (Line(name, 0, (value,), value, value, value, about=name),)),
            Heat(name, axis, axis, (name, name), (name,), sample, sample, sample),
            Regions(name, axis, axis, value, np.array([[0, 1], [0, 0]], dtype=np.int16), (name, name)),
        ),
        columns=3,
        missing=(name,),
    )


@settings(deadline=None)
@given(st.text() | st.sampled_from(HOSTILE))
def test_plotly_is_given_no_markup(name: str) -> None:
    text = escaped(name)
    assert not set("<>") & set(text)
    assert re.fullmatch(r"([^&]|&(amp|lt|gt);)*", text, re.DOTALL)
    for panel in json.loads(json.dumps(to_plotly(named(name)), allow_nan=False))["panels"]:
        shown = [panel["layout"]["xaxis"]["title"]["text"], *(t.get("name", "") for t in panel["data"])]
        assert set(shown) <= {text, ""}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_paper_s_figures_hold_any_name(name: str, tmp_path: Path) -> None:
    svg, png = save_paper(named(name), tmp_path)
    assert (svg.name, png.name) == ("key.svg", "key.png")
    root = ET.parse(svg).getroot()
    assert {element.tag.rsplit("}")[-1] for element in root.iter()} & {"script", "a"} == set()
    assert png.read_bytes().startswith(b"\x89PNG")


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=60))
def test_a_paper_s_figures_hold_names_nobody_thought_of(name: str, tmp_path: Path) -> None:
    svg, _ = save_paper(named(name), tmp_path)
    ET.parse(svg)


def test_what_memory_held_before_is_no_warning_of_a_surface(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = np.empty

    def as_found(*args: Any, **settings: Any) -> Any:
        made = empty(*args, **settings)
        if made.dtype.kind == "f":
            made.fill(1e308)
        return made

    axis = column(np.linspace(-1, 1, 62).tolist())  # of which matplotlib draws 50, the last face narrower
    surface = Surface("s", Axis("a"), Axis("b"), Axis("loss"), axis, np.ones((62, 62), dtype=np.float32))
    monkeypatch.setattr(np, "empty", as_found)
    assert len(save_paper(Figure("key", "t", "c", "a", (surface,)), tmp_path)) == 2


def test_a_file_for_each_axis_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    at = column([1, 2])
    panel = Lines("p", (Axis("epoch"), Axis("passes / GPU")), Axis("y"), (Line("m", 0, (at, at), at),))
    curves = Figure("curves", "t", "c", "a", (panel,))
    first, again = (save_paper(curves, tmp_path / name) for name in ("one", "two"))
    stems = ["curves", "curves-passes-gpu"]
    assert [file.name for file in first] == [f"{stem}.{kind}" for stem in stems for kind in ("svg", "png")]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in again]
    assert {file.name for file in (tmp_path / "one").iterdir()} == {file.name for file in first}


def test_the_legend_of_a_paper_shows_the_markers_of_its_curves() -> None:
    at = column([1, 2])
    lines = tuple(Line(name, slot, (at,), at, markers=slot > 0) for slot, name in enumerate("abc"))
    panel = Lines("p", (Axis("x"),), Axis("y"), lines)
    canvas: Any = draw(Figure("k", "t", "c", "a", (panel,)))
    shown = [handle.get_marker() for handle in canvas.legends[0].legend_handles]
    assert shown == [line.get_marker() for line in canvas.axes[0].lines]
    assert len(set(shown)) == 3
