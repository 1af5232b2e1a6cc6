"""How a record's figures are written on the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from reinforced.studies.reproduce.records import NOT_RUN
from reinforced.studies.reproduce.spans import Span


def figure(value: float, unit: str, *, signed: bool = False) -> str:
    """A share in percent, another number in three digits, or whole from a thousand on."""
    sign = "+" if signed else ""
    if unit == "share":
        return _plain(100 * value, f"{sign}.1f") + (" points" if signed else " %")
    return _number(value, sign)


def interval(low: float, high: float, unit: str) -> str:
    """``[1.2, 3.4]`` in the unit of the figure before it; ``unknown`` for all that there is."""
    if low == -float("inf") and high == float("inf"):
        return "[unknown]"
    ends = [_plain(100 * end, ".1f") if unit == "share" else _number(end) for end in (low, high)]
    return f"[{', '.join(ends)}]"


def is_difference(cell: Mapping[str, Any]) -> bool:
    """Of two shares: it can be below zero, and is in points."""
    return bool(cell["unit"] == "share" and cell["least"] < 0)


def cell_text(cell: Mapping[str, Any]) -> str:
    """A cell's mean with its interval, the words of its seeds and of how many, or ``not run``."""
    if cell["state"] == NOT_RUN:
        return NOT_RUN
    if cell["mean"] is None:
        # A figure can be undefined on some seeds alone: the others' numbers are no mean of all.
        words = Counter(one["value"] for one in cell["values"] if isinstance(one["value"], str))
        return ", ".join(f"{word} ({count} of {len(cell['values'])})" for word, count in words.items())
    text = figure(cell["mean"], cell["unit"], signed=is_difference(cell))
    return text if cell["low"] is None else f"{text} {interval(cell['low'], cell['high'], cell['unit'])}"


def span_text(span: Span | None, unit: str, *, signed: bool = True) -> str:
    """A difference, or where not ``signed`` a figure, with its interval; or ``not run``."""
    if span is None:
        return NOT_RUN
    return f"{figure(span.mean, unit, signed=signed)} {interval(span.low, span.high, unit)}"


def _number(value: float, sign: str = "") -> str:
    return f"{value:{sign},.0f}" if abs(value) >= 1000 else _plain(value, f"{sign}.3g")


def _plain(value: float, form: str) -> str:
    text = f"{value:{form}}"
    return text.removeprefix("-") if text in ("-0.0", "-0") else text
