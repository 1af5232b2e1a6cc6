"""A figure as data: what is drawn, what is said of it and its table, for whichever renderer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Values = NDArray[np.float64]
Cell = float | int | str | None
Dash = Literal["solid", "dash", "dot"]
SHORT = 40
"""Characters of a name that a drawing shows; tables hold all of them."""
_TURNS = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}  # they reorder the text around them


def plain(text: str) -> str:
    """``text`` on one line, without what a file cannot hold or what reorders its surroundings."""
    clean = (" " if char.isspace() else char for char in text if _printable(char) or char.isspace())
    return " ".join("".join(clean).split())


def short(text: str, limit: int = SHORT) -> str:
    """``text`` in at most ``limit`` characters: the beginning and the end, which tell names apart."""
    text = plain(text)
    if len(text) <= limit:
        return text
    end = (limit - 1) // 3
    return f"{text[: limit - 1 - end]}…{text[len(text) - end :]}"


def column(values: ArrayLike | Sequence[float | None]) -> Values:
    """Numbers, ``None`` for not measured, to float64 with not-a-number."""
    return np.asarray(values, dtype=np.float64)


@dataclass(frozen=True)
class Axis:
    """What runs along an axis: ``label`` with its unit; shares in ``percent``, counts ``whole``."""

    label: str
    log: bool = False
    percent: bool = False
    whole: bool = False
    limits: tuple[float, float] | None = None


def drawable(values: Values, axis: Axis) -> Values:
    """``values`` with not-a-number for what a logarithmic axis has no place for."""
    return np.where(values > 0, values, np.nan) if axis.log else values


def runs_of(mask: NDArray[np.bool_]) -> list[slice]:
    """The stretches over which ``mask`` (N,) is true."""
    edges = np.flatnonzero(np.diff(np.r_[False, mask, False].astype(np.int8)))
    return [slice(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]


@dataclass(frozen=True, eq=False)
class Line:
    """A curve.

    Attributes:
        slot: of the palette, the method's; ``None`` for a colour that is no method's.
        x: an array for each of the panel's axes, all as long as ``y``.
        y: not-a-number where it was not measured.
        low, high: of its uncertainty.
        span: whether that is a ``band``, or ``bars`` at each point.
        about: what the interval is, for the table: ``95 % t-interval over 3 seeds``.
    """

    name: str
    slot: int | None
    x: tuple[Values, ...]
    y: Values
    low: Values | None = None
    high: Values | None = None
    span: Literal["band", "bars"] = "band"
    dash: Dash = "solid"
    markers: bool = False
    about: str = ""


@dataclass(frozen=True, eq=False)
class Lines:
    """Curves over one of several axes ``x``, the first until another is chosen."""

    title: str
    x: tuple[Axis, ...]
    y: Axis
    lines: tuple[Line, ...]

    def table(self) -> Table:
        """A row a point."""
        heads = ("panel", "series", *(axis.label for axis in self.x), "value", "low", "high", "interval")
        rows = [
            (self.title, line.name, *(x[at] for x in line.x), y, *_ends(line.low, line.high, at), line.about)
            for line in self.lines
            for at, y in enumerate(line.y)
        ]
        return Table.of("curves", heads, rows)


@dataclass(frozen=True, eq=False)
class Bar:
    """A method's values, one a category, with their intervals; see :class:`Line`."""

    name: str
    slot: int | None
    values: Values
    low: Values
    high: Values
    about: str = ""


@dataclass(frozen=True, eq=False)
class Bars:
    """Groups of bars, a group a category."""

    title: str
    y: Axis
    categories: tuple[str, ...]
    bars: tuple[Bar, ...]

    def table(self) -> Table:
        """A row a bar."""
        heads = ("panel", "series", "category", "value", "low", "high", "interval")
        rows = [
            (self.title, bar.name, category, bar.values[at], *_ends(bar.low, bar.high, at), bar.about)
            for bar in self.bars
            for at, category in enumerate(self.categories)
        ]
        return Table.of("bars", heads, rows)


@dataclass(frozen=True)
class Quantiles:
    """Of a sample: how many values are finite and how many are not, mean and five quantiles."""

    count: int
    undefined: int
    mean: float
    q05: float
    q25: float
    q50: float
    q75: float
    q95: float

    @classmethod
    def of(cls, values: Values) -> Quantiles:
        """Of all finite values."""
        known = values[np.isfinite(values)]
        if not len(known):
            return cls(0, values.size, *(math.nan,) * 6)
        five = np.quantile(known, (0.05, 0.25, 0.5, 0.75, 0.95)).tolist()
        return cls(len(known), values.size - len(known), float(known.mean()), *five)


@dataclass(frozen=True)
class Box:
    """A method's samples, one a category."""

    name: str
    slot: int | None
    samples: tuple[Quantiles, ...]


@dataclass(frozen=True)
class Boxes:
    """Groups of boxes from the 25th to the 75th percentile, whiskers to the 5th and the 95th."""

    title: str
    y: Axis
    categories: tuple[str, ...]
    boxes: tuple[Box, ...]

    def table(self) -> Table:
        """A row a box."""
        heads = [
            "panel",
            "series",
            "category",
            "count",
            "undefined",
            "mean",
            "q05",
            "q25",
            "q50",
            "q75",
            "q95",
        ]
        rows = [
            (self.title, box.name, name, q.count, q.undefined, q.mean, q.q05, q.q25, q.q50, q.q75, q.q95)
            for box in self.boxes
            for name, q in zip(self.categories, box.samples, strict=True)
        ]
        return Table.of("quantiles", heads, rows)


@dataclass(frozen=True, eq=False)
class Heat:
    """A table in colours; ``values`` (rows, columns), not-a-number where nothing was measured."""

    title: str
    x: Axis
    y: Axis
    columns: tuple[str, ...]
    rows: tuple[str, ...]
    values: Values
    low: Values
    high: Values
    limits: tuple[float, float] = (0.0, 1.0)

    def table(self) -> Table:
        """A row a cell."""
        heads = ("panel", self.y.label, self.x.label, "value", "low", "high")
        rows = [
            (self.title, row, name, self.values[i, j], self.low[i, j], self.high[i, j])
            for i, row in enumerate(self.rows)
            for j, name in enumerate(self.columns)
        ]
        return Table.of("cells", heads, rows)


@dataclass(frozen=True, eq=False)
class Surface:
    """Heights ``z`` (n, n) float32 over the square of ``axis`` (n,); rows follow y, columns x."""

    title: str
    x: Axis
    y: Axis
    z: Axis
    axis: Values
    heights: NDArray[np.float32]

    def table(self) -> Table:
        """A row a cell."""
        heads = ("panel", self.x.label, self.y.label, self.z.label)
        rows = [
            (self.title, a, b, self.heights[i, j])
            for i, b in enumerate(self.axis)
            for j, a in enumerate(self.axis)
        ]
        return Table.of("surface", heads, rows)


@dataclass(frozen=True, eq=False)
class Regions:
    """Which of ``names`` holds each cell of the square of ``axis``: ``owners`` (n, n), indices.

    The first name is the one that matters (the true class) and takes the quietest colour.
    """

    title: str
    x: Axis
    y: Axis
    axis: Values
    owners: NDArray[np.int16]
    names: tuple[str, ...]

    def table(self) -> Table:
        """The share of cells that each name holds."""
        shares = np.bincount(self.owners.ravel(), minlength=len(self.names)) / self.owners.size
        rows = [(self.title, name, share) for name, share in zip(self.names, shares, strict=True)]
        return Table.of("regions", ("panel", "region", "share of cells"), rows)


Panel = Lines | Bars | Boxes | Heat | Surface | Regions


@dataclass(frozen=True)
class Table:
    """Numbers under ``heads``; ``None`` is not measured. ``kind`` names the file."""

    kind: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    @classmethod
    def of(cls, kind: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
        """From whatever numbers a panel holds."""
        return cls(kind, tuple(heads), tuple(tuple(_cell(value) for value in row) for row in rows))


@dataclass(frozen=True, eq=False)
class Figure:
    """Panels that share methods, colours and, if they have several, the choice of the x axis.

    Attributes:
        key: name of its files and of its place on the page; letters, digits and hyphens.
        caption: what was measured, on how many images and seeds, and which interval is drawn.
        alt: what the drawing shows, for who does not see it.
        columns: of the panels, where there is room.
        missing: what a reader would look for and was not measured.
    """

    key: str
    title: str
    caption: str
    alt: str
    panels: tuple[Panel, ...]
    columns: int = 1
    missing: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """Labels of the x axes to choose from; none where there is no choice."""
        several = [panel.x for panel in self.panels if isinstance(panel, Lines) and len(panel.x) > 1]
        return tuple(axis.label for axis in several[0]) if several else ()

    @property
    def legend(self) -> dict[tuple[str, int | None, Dash], bool]:
        """(name, slot, dash) of all that has a colour, in the order drawn, and whether it has markers."""
        found: dict[tuple[str, int | None, Dash], bool] = {}
        for panel in self.panels:
            if isinstance(panel, Lines):
                for line in panel.lines:
                    key = (line.name, line.slot, line.dash)
                    found[key] = found.get(key, False) or line.markers
            elif isinstance(panel, Bars):
                found.update({(bar.name, bar.slot, "solid"): False for bar in panel.bars})
            elif isinstance(panel, Boxes):
                found.update({(box.name, box.slot, "solid"): False for box in panel.boxes})
        return found

    def tables(self) -> tuple[Table, ...]:
        """The numbers drawn, panels of one kind in one table."""
        found: dict[tuple[str, tuple[str, ...]], list[tuple[Cell, ...]]] = {}
        for panel in self.panels:
            part = panel.table()
            found.setdefault((part.kind, part.heads), []).extend(part.rows)
        return tuple(Table(kind, heads, tuple(rows)) for (kind, heads), rows in found.items())


def _printable(char: str) -> bool:
    code = ord(char)
    return not (code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in _TURNS)


def _ends(low: Values | None, high: Values | None, at: int) -> tuple[float, float]:
    return (math.nan if low is None else low[at], math.nan if high is None else high[at])


def _cell(value: Any) -> Cell:
    if isinstance(value, str):
        return plain(value)
    number = value.item() if isinstance(value, np.generic) else value
    return number if number is None or math.isfinite(number) else None
