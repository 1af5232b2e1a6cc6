"""Cells of a record and conditions of a claim, by hand."""

from __future__ import annotations

from typing import Any

from reinforced.studies.reproduce.imagewise import packed

UNITS = {"clean": "share", "robust": "share", "verdict": "text", "margin": "number"}


def cell(row: str, column: str, *values: float | str, interval: float | None = 0.01) -> dict[str, Any]:
    unit = UNITS[column]
    least, most = (0.0, 1.0) if unit == "share" else (None, None)
    base = {"row": row, "column": column, "unit": unit, "least": least, "most": most}
    if not values:
        return base | {"state": "not run"}
    numbers = [value for value in values if not isinstance(value, str)]
    mean = sum(numbers) / len(numbers) if numbers else None
    ends = (None, None) if mean is None or interval is None else (mean - interval, mean + interval)
    return base | {
        "state": "measured",
        "values": [{"seed": seed, "value": value} for seed, value in enumerate(values)],
        "images": 500,
        "mean": mean,
        "low": ends[0],
        "high": ends[1],
    }


def condition(row: str, column: str, minus: str = "", **bounds: float) -> dict[str, Any]:
    second = {"row": minus, "column": column} if minus else None
    return {"cell": {"row": row, "column": column}, "minus": second, "least": None, "most": None, **bounds}


def outcomes_of(cell: dict[str, Any], *each: list[int]) -> dict[str, Any]:
    """The cell with its outcomes, a list of 1, 0, -1 a seed."""
    values: list[dict[str, Any]] = [
        {"seed": seed, "value": sum(one) / len(one), "data": "the same", **packed(one)}
        for seed, one in enumerate(each)
    ]
    mean = sum(value["value"] for value in values) / len(values)
    return cell | {"values": values, "images": len(each[0]), "mean": mean}
