"""Figures as SVG and PNG for a paper, with matplotlib and the light palette."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from reinforced.files import atomic
from reinforced.report import palette
from reinforced.report.figure import (
    Axis,
    Bars,
    Boxes,
    Dash,
    Figure,
    Heat,
    Lines,
    Panel,
    Regions,
    Surface,
    drawable,
    short,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

WIDTH, HEIGHT = 3.3, 2.4
"""Of a panel, inches: two fill a page's width."""
SOLID_ROWS = 8
"""Rows of a figure with surfaces that are drawn; matplotlib takes a quarter of a second for each."""
ALONE = 5.0
"""Width of the only column."""
LETTER = 0.06
"""Width of a letter, inches, as a rule."""
DPI = 200
"""Of figures that fit on a page; half of it for longer ones."""
_STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": palette.INK["light"]["muted"],
    "axes.axisbelow": True,
    "grid.color": palette.INK["light"]["grid"],
    "grid.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 3.5,
    "hatch.linewidth": 0.5,
    "text.parse_math": False,  # a dollar in a name is a dollar
    "svg.hashsalt": "reinforced",  # the same figure, the same bytes
    "savefig.facecolor": palette.INK["light"]["paper"],
}


def save_paper(figure: Figure, folder: Path) -> list[Path]:
    """Write ``KEY.svg`` and ``KEY.png``, and ``KEY-CHOICE`` for each further x axis; each is there whole."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415

    written = []
    # A surface's faces of fewer corners are padded with whatever memory holds, and projected with the others.
    with mpl.rc_context(_STYLE), warnings.catch_warnings(), np.errstate(over="ignore", invalid="ignore"):
        # Signs that the font lacks are drawn as boxes.
        warnings.filterwarnings(
            "ignore", r"(?s)Glyph .* missing from|Matplotlib currently does not", UserWarning
        )
        for number, choice in enumerate(figure.choices or ("",)):
            canvas = draw(figure, number)
            FigureCanvasAgg(canvas)
            name = figure.key if number == 0 else f"{figure.key}-{_slug(choice)}"
            canvas.draw_without_rendering()
            canvas.set_layout_engine("none")  # laid out once, for both files
            for kind, about in (("svg", {"Date": None}), ("png", {"Software": None})):
                path = folder / f"{name}.{kind}"
                with atomic(path) as temporary:
                    canvas.savefig(
                        temporary,
                        format=kind,
                        dpi=DPI if canvas.get_figheight() < 12 else DPI // 2,
                        metadata=about,
                    )
                written.append(path)
    return written


def draw(figure: Figure, choice: int = 0) -> Canvas:
    """A matplotlib figure of all panels over the ``choice``-th x axis, the legend below."""
    from matplotlib.figure import Figure as Canvas  # noqa: PLC0415 - slow to import

    columns = min(figure.columns, len(figure.panels))
    panels = figure.panels
    if any(isinstance(panel, Surface) for panel in panels):
        panels = panels[: SOLID_ROWS * columns]
    rows = -(-len(panels) // columns)
    width = ALONE if columns == 1 else WIDTH * columns
    canvas = Canvas(figsize=(width, HEIGHT * rows), layout="constrained")
    for number, panel in enumerate(panels):
        solid = {"projection": "3d"} if isinstance(panel, Surface) else {}
        axes = canvas.add_subplot(rows, columns, number + 1, **solid)
        if len(figure.panels) > 1:
            axes.set_title(short(panel.title), loc="left")
        _draw(axes, panel, choice)
    _legend(canvas, figure, width)
    left_out = (len(figure.panels) - len(panels)) // columns
    if left_out:
        canvas.suptitle(f"The first {rows} of {rows + left_out}; the page draws all.", fontsize=8)
    return canvas


def _draw(axes: Axes, panel: Panel, choice: int) -> None:
    if isinstance(panel, Lines):
        _lines(axes, panel, min(choice, len(panel.x) - 1))
    elif isinstance(panel, Bars):
        _bars(axes, panel)
    elif isinstance(panel, Boxes):
        _boxes(axes, panel)
    elif isinstance(panel, Heat):
        _heat(axes, panel)
    elif isinstance(panel, Surface):
        _surface(axes, panel)
    else:
        _regions(axes, panel)


def _lines(axes: Axes, panel: Lines, choice: int) -> None:
    for line in panel.lines:
        ink = palette.colour(line.slot)
        x, y = drawable(line.x[choice], panel.x[choice]), drawable(line.y, panel.y)
        mark = palette.marker(line.slot).matplotlib if line.markers else ""
        axes.plot(x, y, color=ink, linestyle=_dash(line.dash), marker=mark, clip_on=not mark)
        if line.low is None or line.high is None:
            continue
        low, high = drawable(line.low, panel.y), drawable(line.high, panel.y)
        if line.span == "band":
            axes.fill_between(x, low, high, color=ink, alpha=0.18, linewidth=0)
        else:
            sizes = _sizes(line.y, line.low, line.high)
            axes.errorbar(x, y, sizes, fmt="none", ecolor=ink, elinewidth=0.8, clip_on=False)
    _dress(axes, panel.x[choice], panel.y)


def _bars(axes: Axes, panel: Bars) -> None:
    width = 0.8 / max(1, len(panel.bars))
    for number, bar in enumerate(panel.bars):
        at = np.arange(len(panel.categories)) + (number - (len(panel.bars) - 1) / 2) * width
        hatch = palette.HATCHES[palette.variant(bar.slot)][1]
        ink = palette.colour(bar.slot)
        axes.bar(at, bar.values, width * 0.92, color=ink, hatch=hatch, edgecolor="white", linewidth=0)
        sizes = _sizes(bar.values, bar.low, bar.high)
        axes.errorbar(at, bar.values, sizes, fmt="none", ecolor=palette.colour(None), elinewidth=0.7)
        for place in at[np.isnan(bar.values)]:
            axes.text(place, 0, "\u2013", ha="center", va="bottom", color=palette.INK["light"]["muted"])
    _categories(axes, panel.categories)
    _dress(axes, None, panel.y)


def _boxes(axes: Axes, panel: Boxes) -> None:
    width = 0.8 / max(1, len(panel.boxes))
    for number, box in enumerate(panel.boxes):
        ink = palette.colour(box.slot)
        known = [(at, sample) for at, sample in enumerate(box.samples) if sample.count]
        keys = {"whislo": "q05", "q1": "q25", "med": "q50", "q3": "q75", "whishi": "q95", "mean": "mean"}
        stats = [{key: getattr(sample, name) for key, name in keys.items()} for _, sample in known]
        at = [at + (number - (len(panel.boxes) - 1) / 2) * width for at, _ in known]
        line = {"color": ink, "linewidth": 1.0}
        axes.bxp(
            stats,
            positions=at,
            widths=width * 0.75,
            showfliers=False,
            showmeans=True,
            patch_artist=True,
            manage_ticks=False,
            boxprops={"facecolor": (*_rgb(ink), 0.18), "edgecolor": ink, "linewidth": 1.0},
            medianprops={**line, "linewidth": 1.6},
            whiskerprops=line,
            capprops=line,
            meanprops={"marker": "D", "markerfacecolor": ink, "markeredgewidth": 0, "markersize": 2.5},
        )
    _categories(axes, panel.categories)
    _dress(axes, None, panel.y)


def _heat(axes: Axes, panel: Heat) -> None:
    scale = _scale(palette.SHARES)
    low, high = panel.limits
    axes.imshow(panel.values, cmap=scale, vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(panel.values):
        if np.isnan(value):
            said, ink = "\u2013", palette.INK["light"]["muted"]
        else:
            said, ink = f"{value:.0%}", "white" if (value - low) / (high - low) > 0.55 else "black"
        axes.text(column, row, said, ha="center", va="center", color=ink, fontsize=7)
    _categories(axes, panel.columns, room=28)
    axes.set_yticks(range(len(panel.rows)), [short(name, 24) for name in panel.rows])
    axes.set(xlabel=short(panel.x.label), ylabel=short(panel.y.label))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)


def _surface(axes: Any, panel: Surface) -> None:
    low, high = panel.z.limits or (None, None)
    across, down = np.meshgrid(panel.axis, panel.axis)
    # A picture inside the SVG: thousands of polygons would make it too large for any editor.
    look = {"cmap": _scale(palette.HEIGHTS), "linewidth": 0, "rasterized": True, "antialiased": False}
    axes.plot_surface(across, down, panel.heights, vmin=low, vmax=high, **look)
    labels = {
        f"{name}label": axis.label for name, axis in zip("xyz", (panel.x, panel.y, panel.z), strict=True)
    }
    axes.set(**{name: short(label, 24) for name, label in labels.items()})
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.label.set_size(6.5)
    if panel.z.limits:
        axes.set_zlim(*panel.z.limits)
    axes.view_init(elev=28, azim=-55)
    axes.tick_params(pad=0, labelsize=6)
    axes.set_box_aspect((1, 1, 0.7), zoom=1.0)


def _regions(axes: Axes, panel: Regions) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap  # noqa: PLC0415 - slow to import
    from matplotlib.patches import Patch  # noqa: PLC0415

    colours = palette.REGIONS["light"][: len(panel.names)]
    norm = BoundaryNorm(np.arange(len(colours) + 1) - 0.5, len(colours))
    edge = (panel.axis[0], panel.axis[-1])
    axes.imshow(
        panel.owners,
        cmap=ListedColormap(colours),
        norm=norm,
        origin="lower",
        extent=(*edge, *edge),
        interpolation="nearest",
    )
    axes.plot(0, 0, marker="+", color=palette.colour(None), markersize=7)
    patches = [
        Patch(color=colours[at], label=short(panel.names[at], 18)) for at in np.unique(panel.owners).tolist()
    ]
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "frameon": False}
    axes.legend(handles=patches, fontsize=6.5, handlelength=1, **place)
    _dress(axes, panel.x, panel.y, grid=False)


def _legend(canvas: Canvas, figure: Figure, width: float) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - slow to import

    entries = figure.legend
    if not entries:
        return
    curves = any(isinstance(panel, Lines) for panel in figure.panels)
    style = {"linewidth": 1.6} if curves else {"linewidth": 5}
    handles = [
        Line2D(
            [],
            [],
            color=palette.colour(slot),
            linestyle=_dash(dash),
            marker=palette.marker(slot).matplotlib if markers else "",
            label=short(name, 32),
            **style,
        )
        for (name, slot, dash), markers in entries.items()
    ]
    longest = max(min(len(name), 32) for name, _, _ in entries) * LETTER + 0.85
    fitting = max(1, min(len(entries), int(width / longest)))
    canvas.legend(handles=handles, loc="outside lower center", ncols=fitting, frameon=False, fontsize=7.5)


def _dress(axes: Axes, x: Axis | None, y: Axis, *, grid: bool = True) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator, PercentFormatter  # noqa: PLC0415 - slow to import

    for axis, ticks, scale, limits, label in (
        (x, axes.xaxis, axes.set_xscale, axes.set_xlim, axes.set_xlabel),
        (y, axes.yaxis, axes.set_yscale, axes.set_ylim, axes.set_ylabel),
    ):
        if axis is None:
            continue
        label(short(axis.label))
        if axis.log:
            scale("log")
            _powers(ticks)
        if axis.percent:
            ticks.set_major_formatter(PercentFormatter(1.0, decimals=0))
        elif not axis.log and max(map(abs, ticks.get_data_interval())) >= 1e4:
            ticks.set_major_formatter(EngFormatter(sep=""))
        elif axis.whole:
            ticks.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
        if axis.limits:
            limits(*axis.limits)
    if grid:
        axes.grid(axis="both" if x is not None else "y")


def _powers(ticks: Any) -> None:
    """Labels of a logarithmic axis without mathematical markup, in between too where it is short."""
    from matplotlib.ticker import FuncFormatter, NullFormatter  # noqa: PLC0415 - slow to import

    def power(value: float, _: object) -> str:
        exponent = round(np.log10(value)) if value > 0 else 0
        if -3 <= exponent <= 3:
            return f"{value:g}"
        return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))

    def between(value: float, _: object) -> str:
        return f"{value:g}" if f"{value:e}"[0] in "25" else ""

    low, high = ticks.get_data_interval()
    ticks.set_major_formatter(FuncFormatter(power))
    ticks.set_minor_formatter(FuncFormatter(between) if high < 30 * low else NullFormatter())


def _categories(axes: Axes, names: Sequence[str], room: int = 62) -> None:
    crowded = sum(min(len(name), 24) for name in names) > room
    turn: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if crowded else {}
    if not any(names):
        axes.set_xticks([])
        return
    axes.set_xticks(range(len(names)), [short(name, 24) for name in names], **turn)


def _sizes(values: Any, low: Any, high: Any) -> Any:
    return np.nan_to_num(np.maximum([values - low, high - values], 0))


def _dash(dash: Dash) -> Literal["-", "--", ":"]:
    styles: dict[Dash, Literal["-", "--", ":"]] = {"solid": "-", "dash": "--", "dot": ":"}
    return styles[dash]


def _rgb(colour: str) -> tuple[float, float, float]:
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    return red, green, blue


def _scale(colours: Sequence[str]) -> Any:
    from matplotlib.colors import LinearSegmentedColormap  # noqa: PLC0415 - slow to import

    return LinearSegmentedColormap.from_list("scale", list(colours))


def _slug(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
