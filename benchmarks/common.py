"""What every benchmark says in the same words: the machine, and one BAR line a figure."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch

from reinforced.training.environment import processor_name

_written: list[Path] = []
"""The file of ``--json``, once :func:`parse` has seen it."""


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """The options, ``--json FILE`` among them, which :func:`bar` adds to."""
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write each figure to it, as a JSON line"
    )
    options = parser.parse_args()
    if options.json is not None:
        options.json.write_text("", encoding="utf-8")
        _written.append(options.json)
    return options


def machine() -> str:
    """One line: processor, threads, versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "accelerate"))
    return (
        f"machine: {processor_name()}, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, {versions}"
    )


def bar(name: str, value: float, goal: str, met: bool, over: Sequence[float] = ()) -> None:
    """``BAR <name> <value> <goal> ok|short``, and with ``--json`` the same as a line of JSON.

    Args:
        name: of the figure.
        value: the figure, ``over``'s median where that is given.
        goal: a comparison, as in ``>=1.4``.
        met: whether the figure keeps it.
        over: what was measured in each repetition; the JSON line tells its range.
    """
    print(f"BAR {name} {value:.4g} {goal} {'ok' if met else 'short'}", flush=True)
    line = {"name": name, "figure": value, "goal": goal, "kept": met}
    if over:
        line["range"] = [min(over), max(over)]
    for file in _written:
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps(line) + "\n")


def spread(values: Sequence[float]) -> str:
    """Median with minimum and maximum."""
    return f"{statistics.median(values):.3g} [{min(values):.3g}, {max(values):.3g}]"


def paired_ratios(
    ours: Callable[[], float], theirs: Callable[[], float], repetitions: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of both in turn, and ``theirs / ours`` pair by pair (above 1: ours is faster).

    The order within a pair alternates, so that a drift of the machine's speed favours neither.
    """
    mine: list[float] = []
    others: list[float] = []
    for repetition in range(repetitions):
        if repetition % 2:
            others.append(theirs())
            mine.append(ours())
        else:
            mine.append(ours())
            others.append(theirs())
    return mine, others, [other / own for own, other in zip(mine, others, strict=True)]


def take_turns(measures: Mapping[str, Callable[[], float]], repetitions: int) -> dict[str, list[float]]:
    """What each measures, ``repetitions`` times in turn after once to warm up; each round turns the order."""
    found: dict[str, list[float]] = {name: [] for name in measures}
    for measure in measures.values():
        measure()
    for repetition in range(repetitions):
        for name in list(measures) if repetition % 2 == 0 else reversed(list(measures)):
            found[name].append(measures[name]())
    return found
