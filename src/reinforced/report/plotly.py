"""Figures as Plotly's JSON, a drawing a panel; colours are names that the page looks up in its theme."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reinforced.report import palette
from reinforced.report.figure import (
    Axis,
    Bars,
    Boxes,
    Figure,
    Heat,
    Line,
    Lines,
    Panel,
    Regions,
    Surface,
    Values,
    drawable,
    runs_of,
    short,
)

Json = dict[str, Any]
CELLS_LABELLED = 12
"""Columns up to which a heat map writes its numbers into the cells."""


def to_plotly(figure: Figure) -> Json:
    """``panels`` of ``kind``, ``title``, ``data``, ``layout``; ``choices`` of x axes; ``legend``; ``webgl``.

    JSON-safe: arrays are Plotly's base64 form, without not-a-number elsewhere. Where there are ``choices``,
    each panel has as many lists of its traces' x and as many axis titles. Colours are ``var(--name)`` of
    palette.py. Titles and legend are plain text; what Plotly shows is free of its pseudo-HTML.
    """
    return {
        "panels": [_panel(panel) for panel in figure.panels],
        "choices": [short(label) for label in figure.choices],
        "legend": [{"name": name, "slot": slot, "dash": dash} for name, slot, dash in figure.legend],
        "columns": figure.columns,
        "webgl": any(isinstance(panel, Surface) for panel in figure.panels),
    }


def escaped(text: str) -> str:
    """``text`` as Plotly must be given it: it reads ``<b>``, ``<a href>`` and entities in every label."""
    return short(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _panel(panel: Panel) -> Json:
    draw = {Lines: _lines, Bars: _bars, Boxes: _boxes, Heat: _heat, Surface: _surface, Regions: _regions}
    found = {
        "kind": type(panel).__name__.lower(),
        "title": short(panel.title, 120),
        "choices": [],
        "axes": [],
    }
    return {**found, **draw[type(panel)](panel)}  # type: ignore[operator]  # of its own type


def _lines(panel: Lines) -> Json:
    choices: list[list[Json]] = []
    for choice, axis in enumerate(panel.x):
        xs = []
        for line in panel.lines:
            if _has_band(line):
                xs.append(_array(np.concatenate([x for x, _ in _outline(line, choice, panel)])))
            xs.append(_array(drawable(line.x[choice], axis)))
        choices.append(xs)
    data = []
    for line in panel.lines:
        ink = f"var(--{palette.token(line.slot)})"
        meta = {"slot": line.slot, "name": line.name}
        if _has_band(line):
            outline = np.concatenate([y for _, y in _outline(line, 0, panel)])
            band = {"type": "scatter", "mode": "none", "fill": "toself", "hoverinfo": "skip"}
            colour = f"var(--{palette.token(line.slot)}-band)"
            data.append({**band, "y": _array(outline), "fillcolor": colour, "meta": meta})
        trace: Json = {
            "type": "scatter",
            "mode": "lines+markers" if line.markers else "lines",
            "name": escaped(line.name),
            "y": _array(drawable(line.y, panel.y)),
            "line": {"color": ink, "width": 2, "dash": line.dash},
            "cliponaxis": not line.markers,
            "marker": {"color": ink, "size": 7, "symbol": palette.marker(line.slot).plotly},
            "meta": meta,
        }
        if line.span == "bars" and line.low is not None and line.high is not None:
            trace["error_y"] = _error(line.y, line.low, line.high, ink)
        data.append(trace)
    for trace, x in zip(data, choices[0], strict=True):
        trace["x"] = x
    layout = _layout(_axis(panel.x[0]), _axis(panel.y))
    if len(panel.x) == 1:
        return {"data": data, "layout": layout}
    return {
        "data": data,
        "layout": layout,
        "choices": choices,
        "axes": [escaped(axis.label) for axis in panel.x],
    }


def _has_band(line: Line) -> bool:
    return line.span == "band" and line.low is not None and line.high is not None


def _outline(line: Line, choice: int, panel: Lines) -> list[tuple[Values, Values]]:
    """Closed polygons, each followed by not-a-number, one a stretch without a gap; an empty one at least."""
    assert line.low is not None
    assert line.high is not None
    low, high = drawable(line.low, panel.y), drawable(line.high, panel.y)
    # The gaps of all choices, so that a polygon's x fits its y whichever is chosen.
    x = np.stack([drawable(x, axis) for x, axis in zip(line.x, panel.x, strict=True)])
    polygons = [(np.full(1, np.nan), np.full(1, np.nan))]
    for part in runs_of(~np.isnan(low) & ~np.isnan(high) & ~np.isnan(x).any(axis=0)):
        across, there, back = x[choice][part], low[part], high[part]
        polygons.append((np.r_[across, across[::-1], np.nan], np.r_[there, back[::-1], np.nan]))
    return polygons


def _bars(panel: Bars) -> Json:
    data = []
    for bar in panel.bars:
        ink = f"var(--{palette.token(bar.slot)})"
        pattern = {"shape": palette.HATCHES[palette.variant(bar.slot)][0], "fgcolor": "var(--paper)"}
        data.append(
            {
                "type": "bar",
                "name": escaped(bar.name),
                "x": _array(np.arange(len(panel.categories))),
                "y": _array(bar.values),
                "error_y": _error(bar.values, bar.low, bar.high, "var(--ink)"),
                "marker": {"color": ink, "pattern": pattern},
                "meta": {"slot": bar.slot, "name": bar.name},
            }
        )
    layout = _layout(_categories(panel.categories), _axis(panel.y))
    return {"data": data, "layout": {**layout, "barmode": "group", "bargap": 0.25}}


def _boxes(panel: Boxes) -> Json:
    data = []
    for box in panel.boxes:
        ink = f"var(--{palette.token(box.slot)})"
        known = [(at, sample) for at, sample in enumerate(box.samples) if sample.count]

        def given(*names: str, known: Any = known) -> Json:
            fields = {"lowerfence": "q05", "q1": "q25", "median": "q50", "q3": "q75", "upperfence": "q95"}
            return {
                name: _array(np.array([getattr(sample, fields.get(name, name)) for _, sample in known]))
                for name in names
            }

        data.append(
            {
                "type": "box",
                "name": escaped(box.name),
                "x": _array(np.array([at for at, _ in known], dtype=np.float64)),
                **given("lowerfence", "q1", "median", "q3", "upperfence", "mean"),
                "line": {"color": ink, "width": 2},
                "fillcolor": f"var(--{palette.token(box.slot)}-band)",
                "meta": {"slot": box.slot, "name": box.name},
            }
        )
    layout = _layout(_categories(panel.categories), _axis(panel.y))
    return {"data": data, "layout": {**layout, "boxmode": "group"}}


def _heat(panel: Heat) -> Json:
    text = [[_said(*cell) for cell in zip(*row, strict=True)] for row in _rows(panel)]
    trace: Json = {
        "type": "heatmap",
        "x": _array(np.arange(len(panel.columns))),
        "y": _array(np.arange(len(panel.rows))),
        "z": _array(panel.values.astype(np.float32)),
        "zmin": panel.limits[0],
        "zmax": panel.limits[1],
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "hoverongaps": False,
        "colorscale": _scale(palette.SHARES),
        "colorbar": {"thickness": 12, "outlinewidth": 0, "tickformat": ".0%"},
        "xgap": 2,
        "ygap": 2,
    }
    if len(panel.columns) <= CELLS_LABELLED:
        trace["texttemplate"] = "%{z:.0%}"
    across = {**_categories(panel.columns), "title": {"text": escaped(panel.x.label)}, "showgrid": False}
    down = {**_categories(panel.rows), "title": {"text": escaped(panel.y.label)}, "autorange": "reversed"}
    return {"data": [trace], "layout": _layout(across, {**down, "showgrid": False})}


def _surface(panel: Surface) -> Json:
    low, high = panel.z.limits or (None, None)
    trace = {
        "type": "surface",
        "x": _array(panel.axis.astype(np.float32)),
        "y": _array(panel.axis.astype(np.float32)),
        "z": _array(panel.heights),
        "cmin": low,
        "cmax": high,
        "colorscale": _scale(palette.HEIGHTS),
        "colorbar": {"thickness": 12, "outlinewidth": 0, "len": 0.7},
        "hovertemplate": "a %{x:.2f}, b %{y:.2f}: %{z:.3g}<extra></extra>",
    }
    axes = {name: _scene_axis(axis) for name, axis in zip("xyz", (panel.x, panel.y, panel.z), strict=True)}
    scene = {f"{name}axis": axis for name, axis in axes.items()}
    camera = {"eye": {"x": 1.35, "y": -1.5, "z": 0.85}}
    room = {"margin": {"l": 0, "r": 0, "t": 8, "b": 0}}
    aspect = {"aspectmode": "manual", "aspectratio": {"x": 1, "y": 1, "z": 0.7}}
    return {"data": [trace], "layout": {**_base(), **room, "scene": {**scene, **aspect, "camera": camera}}}


def _regions(panel: Regions) -> Json:
    count = len(panel.names)
    steps = [[edge / count, f"var(--r{number})"] for number in range(count) for edge in (number, number + 1)]
    map_ = {
        "type": "heatmap",
        "x": _array(panel.axis.astype(np.float32)),
        "y": _array(panel.axis.astype(np.float32)),
        "z": _array(panel.owners),
        "zmin": -0.5,
        "zmax": count - 0.5,
        "colorscale": steps,
        "hoverinfo": "x+y",
        "colorbar": {
            "thickness": 12,
            "outlinewidth": 0,
            "tickvals": list(range(count)),
            "ticktext": [escaped(name) for name in panel.names],
        },
    }
    here = {
        "type": "scatter",
        "mode": "markers",
        "x": [0],
        "y": [0],
        "hoverinfo": "skip",
        "marker": {"symbol": "cross-thin", "size": 11, "line": {"width": 2, "color": "var(--ink)"}},
    }
    square = {**_axis(panel.y), "scaleanchor": "x", "constrain": "domain"}
    across = {**_axis(panel.x), "constrain": "domain"}
    return {"data": [map_, here], "layout": _layout(across, square)}


def _rows(panel: Heat) -> list[tuple[Values, Values, Values]]:
    return list(zip(panel.values, panel.low, panel.high, strict=True))


def _said(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return "not measured"
    return f"{value:.1%}" + ("" if np.isnan(low) else f" [{low:.1%}, {high:.1%}]")


def _error(values: Values, low: Values, high: Values, ink: str) -> Json:
    above, below = (np.nan_to_num(np.maximum(part, 0)) for part in (high - values, values - low))
    sizes = {"symmetric": False, "array": _array(above), "arrayminus": _array(below)}
    return {"type": "data", **sizes, "color": ink, "thickness": 1.3, "width": 3}


def _axis(axis: Axis) -> Json:
    found: Json = {"title": {"text": escaped(axis.label)}, "type": "log" if axis.log else "linear"}
    if axis.percent:
        found["tickformat"] = ".0%"
    if axis.whole:
        found["tickformat"] = "d"
    if axis.log:
        found["exponentformat"] = "power"
    if axis.limits:
        found["range"] = [float(np.log10(end)) if axis.log else end for end in axis.limits]
    return found


def _scene_axis(axis: Axis) -> Json:
    colours = {"color": "var(--ink)", "gridcolor": "var(--grid)", "showbackground": False}
    found = {"title": {"text": escaped(axis.label)}, **colours, "zerolinecolor": "var(--grid)"}
    return {**found, "range": list(axis.limits)} if axis.limits else found


def _categories(names: Sequence[str]) -> Json:
    # Positions, not names: Plotly would merge those that are alike once they are shortened.
    shown = {"tickvals": list(range(len(names))), "ticktext": [escaped(name) for name in names]}
    # By default the last label vanishes from a narrow page.
    return {"tickmode": "array", **shown, "showgrid": False, "ticklabeloverflow": "allow"}


def _base() -> Json:
    return {
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink)", "family": "inherit", "size": 13},
        "showlegend": False,
        "hoverlabel": {"bgcolor": "var(--paper)", "font": {"color": "var(--ink)"}, "namelength": 40},
        "margin": {"l": 56, "r": 12, "t": 12, "b": 48},
    }


def _layout(x: Json, y: Json) -> Json:
    lines = {
        "gridcolor": "var(--grid)",
        "linecolor": "var(--muted)",
        "zeroline": False,
        "automargin": True,
        "ticks": "outside",
        "tickcolor": "var(--muted)",
    }
    return {**_base(), "xaxis": {**lines, **x}, "yaxis": {**lines, **y}}


def _scale(colours: Sequence[str]) -> list[list[Any]]:
    return [[at / (len(colours) - 1), colour] for at, colour in enumerate(colours)]


def _array(values: NDArray[Any]) -> Json:
    """Plotly's base64 form of an array: not-a-number survives, and it is short."""
    kinds = {"float64": "f8", "float32": "f4", "int16": "i2"}
    values = values if str(values.dtype) in kinds else values.astype(np.float64)
    data = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    found = {"dtype": kinds[str(values.dtype)], "bdata": base64.b64encode(data).decode("ascii")}
    return found if values.ndim == 1 else {**found, "shape": ", ".join(map(str, values.shape))}
