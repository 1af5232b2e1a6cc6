"""Colours: one a method everywhere, told apart under every colour blindness, for light and dark.

After Okabe & Ito (2008), moved in lightness until all pairs of a theme stay apart in simulations of protan,
deutan and tritan sight, and until each has a contrast of 3 to its background (tests/report/test_palette.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from reinforced.report.figure import Dash

Theme = Literal["light", "dark"]

METHODS: dict[Theme, tuple[str, ...]] = {
    "light": ("#0a5fc4", "#a83200", "#0f9468", "#c070aa", "#bd8800", "#3a94e2", "#541278", "#2e2e2e"),
    "dark": ("#4c90ff", "#e0672c", "#5fe0a2", "#d85a9a", "#f2d24b", "#a9d4ff", "#8b5aa8", "#ececec"),
}


class Marker(NamedTuple):
    """A symbol as Plotly and as matplotlib call it, and as an SVG path about the origin."""

    plotly: str
    matplotlib: str
    path: str


MARKERS = (
    Marker("circle", "o", "M4 0A4 4 0 1 1-4 0A4 4 0 1 1 4 0Z"),
    Marker("square", "s", "M-3.5-3.5H3.5V3.5H-3.5Z"),
    Marker("diamond", "D", "M0-5L5 0L0 5L-5 0Z"),
    Marker("triangle-up", "^", "M0-4.5L4.5 3.5H-4.5Z"),
    Marker("triangle-down", "v", "M0 4.5L4.5-3.5H-4.5Z"),
    Marker("x", "x", "M-2.5-4L0-1.5L2.5-4L4-2.5L1.5 0L4 2.5L2.5 4L0 1.5L-2.5 4L-4 2.5L-1.5 0L-4-2.5Z"),
    Marker("cross", "P", "M-1.5-4.5H1.5V-1.5H4.5V1.5H1.5V4.5H-1.5V1.5H-4.5V-1.5H-1.5Z"),
    Marker(
        "star",
        "*",
        "M0.0 -5.0L1.3 -1.8L4.8 -1.5L2.1 0.7L2.9 4.0L0.0 2.2L-2.9 4.0L-2.1 0.7L-4.8 -1.5L-1.3 -1.8Z",
    ),
)
"""By slot, for print without colours."""
HATCHES = (("", ""), ("/", "///"), (".", "..."))
DASHES: tuple[Dash, ...] = ("solid", "dash", "dot")
REGIONS: dict[Theme, tuple[str, ...]] = {
    "light": (
        "#e9ecef",
        "#8fbbe8",
        "#efb088",
        "#8fd3b6",
        "#e2aed0",
        "#ead07a",
        "#6f8fc4",
        "#b394d4",
        "#d08484",
        "#a9a9a9",
    ),
    "dark": (
        "#2b3038",
        "#3f79b8",
        "#b0653a",
        "#3c8f6e",
        "#9c5c86",
        "#a68a34",
        "#2f4f86",
        "#6c4a94",
        "#8a4040",
        "#6b6f76",
    ),
}
"""Of decisions: the true class is the quiet first; the last is for all other classes together."""
INK: dict[Theme, dict[str, str]] = {
    "light": {"ink": "#1b1f24", "muted": "#57606a", "grid": "#e3e6ea", "paper": "#ffffff"},
    "dark": {"ink": "#e8eaed", "muted": "#a3abb5", "grid": "#30363f", "paper": "#14161a"},
}
HEIGHTS = ("#420a5c", "#3e3e8c", "#2a6c92", "#1e968a", "#46be6e", "#a8da3c", "#fae628")
"""Of losses, from low to high: lightness rises evenly."""
SHARES = ("#f4f8fc", "#c9dff2", "#92c0e4", "#4f97cf", "#1c6bb0", "#0a3f7d")
"""Of accuracies, from 0 to 1."""


@dataclass(frozen=True)
class Mark:
    """How a verdict is shown: a symbol and words, which hold without colour, and its colour's name."""

    symbol: str
    words: str
    token: str


VERDICTS = {
    "genuine": Mark("✓", "genuine", "good"),
    "overstated": Mark("≈", "overstated", "warn"),
    "masked": Mark("✗", "masked", "bad"),
    "not-robust": Mark("○", "not robust", "none"),
    "inconclusive": Mark("?", "inconclusive", "open"),
}
VERDICT_COLOURS: dict[Theme, dict[str, str]] = {
    "light": {"good": "#00573a", "warn": "#9a6700", "bad": "#8f1d00", "none": "#3d444d", "open": "#5f6b7a"},
    "dark": {"good": "#7ce8b5", "warn": "#f0c04a", "bad": "#ff8a66", "none": "#c8d0d9", "open": "#98a3b0"},
}


def colour(slot: int | None, theme: Theme = "light") -> str:
    """A method's colour; the ink's for what is no method's."""
    return INK[theme]["ink"] if slot is None else METHODS[theme][slot % len(METHODS[theme])]


def token(slot: int | None) -> str:
    """The name under which the page knows a method's colour."""
    return "ink" if slot is None else f"m{slot % len(METHODS['light'])}"


def variant(slot: int | None) -> int:
    """Which turn of the colours a slot is in; it chooses dash and hatch: 0 for the first eight methods."""
    return 0 if slot is None else slot // len(METHODS["light"]) % len(DASHES)


def marker(slot: int | None) -> Marker:
    """A method's symbol."""
    return MARKERS[0 if slot is None else slot % len(MARKERS)]


def tokens(theme: Theme) -> dict[str, str]:
    """Every colour of a theme by name."""
    methods = {f"m{number}": value for number, value in enumerate(METHODS[theme])}
    regions = {f"r{number}": value for number, value in enumerate(REGIONS[theme])}
    named = {**INK[theme], **methods, **regions, **VERDICT_COLOURS[theme]}
    bands = {f"{name}-band": translucent(named[name]) for name in ("ink", *methods)}
    return {**named, **bands}


def translucent(colour: str, alpha: float = 0.2) -> str:
    """``#rrggbb`` as CSS's ``rgba(r, g, b, alpha)``."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha})"


def css() -> str:
    """The colours as custom properties: the system's theme, or that of ``data-theme`` on the root."""
    light, dark = (
        " ".join(f"--{name}: {value};" for name, value in tokens(theme).items())
        for theme in ("light", "dark")
    )
    return (
        f":root {{ color-scheme: light; {light} }}\n"
        "@media (prefers-color-scheme: dark) "
        f"{{ :root:not([data-theme]) {{ color-scheme: dark; {dark} }} }}\n"
        f':root[data-theme="dark"] {{ color-scheme: dark; {dark} }}\n'
    )
