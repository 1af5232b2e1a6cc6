"""What every benchmark says in the same words: the machine, and one BAR line a figure."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata

import torch

from reinforced.training.environment import processor_name


def machine() -> str:
    """One line: processor, threads, versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "accelerate"))
    return (
        f"machine: {processor_name()}, {torch.get_num_threads()} threads; "
        f"Python {platform.python_version()}, {versions}"
    )


def bar(name: str, value: float, goal: str, met: bool) -> None:
    """``BAR <name> <value> <goal> ok|short``."""
    print(f"BAR {name} {value:.4g} {goal} {'ok' if met else 'short'}", flush=True)


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
