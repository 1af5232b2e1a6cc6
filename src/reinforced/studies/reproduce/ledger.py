"""Whether a claim holds: its conditions against the intervals of its cells.

A claim of m conditions holds if each does at 95 %. It does not hold if one is violated at 1 - 5 %/m, for of
m true conditions one or other would be violated by chance more often than one alone (Bonferroni).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from reinforced.studies.reproduce.records import NOT_RUN
from reinforced.studies.reproduce.spans import Span, bounds, difference, span
from reinforced.studies.statistics import CONFIDENCE

Cells = Mapping[tuple[str, str], Mapping[str, Any]]
Answer = Literal["holds", "does not hold", "undecided", "not testable here", "not run"]


def answer(claim: Mapping[str, Any], cells: Cells) -> Answer:
    """Of a claim in a record; what it takes for granted (``given``) is looked for in the measured figures."""
    if not claim["conditions"]:
        return "not testable here"
    granted = [_granted(one, cells) for one in claim["given"]]
    if None in granted:
        return "not run"
    if not all(granted):
        return "not testable here"
    each = [_condition(one, cells, len(claim["conditions"])) for one in claim["conditions"]]
    order: Sequence[Answer] = ("does not hold", "not run", "undecided", "holds")
    return next(one for one in order if one in each)


def evidence(condition: Mapping[str, Any], cells: Cells, confidence: float = CONFIDENCE) -> Span | None:
    """The figure that a condition is about."""
    first, *second = (
        _of_seeds(_at(term, cells), condition.get("seeds", ()))
        for term in (condition["cell"], condition["minus"])
        if term is not None
    )
    return difference(first, second[0], confidence) if second else span(first, confidence)


def _granted(condition: Mapping[str, Any], cells: Cells) -> bool | None:
    found = evidence(condition, cells)
    if found is None:
        return None
    least, most = bounds(condition)
    return least <= found.mean <= most


def _condition(condition: Mapping[str, Any], cells: Cells, among: int) -> Answer:
    """Of one condition among as many as the claim has."""
    found = evidence(condition, cells)
    surely = evidence(condition, cells, 1 - (1 - CONFIDENCE) / among)
    if found is None or surely is None:
        return "not run"
    least, most = bounds(condition)
    if least <= found.low and found.high <= most:
        return "holds"
    return "does not hold" if surely.high < least or surely.low > most else "undecided"


def _of_seeds(cell: Mapping[str, Any], seeds: Sequence[int]) -> Mapping[str, Any]:
    """A cell with these seeds alone, if any are named."""
    if not seeds or cell.get("mean") is None:
        return cell
    values = [value for value in cell["values"] if value["seed"] in seeds]
    return {**cell, "values": values, "mean": math.fsum(value["value"] for value in values) / len(values)}


def _at(term: Mapping[str, str], cells: Cells) -> Mapping[str, Any]:
    return cells.get((term["row"], term["column"]), {"state": NOT_RUN})
