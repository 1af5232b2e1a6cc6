"""What a study's record holds already: figures whose runs may be elsewhere, as in a new clone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reinforced.studies.reproduce.imagewise import unpacked
from reinforced.studies.reproduce.measures import Column, Reading
from reinforced.studies.reproduce.paper import Size

_BESIDE = {"seed", "value", "plus", "minus", "error"}
"""Of a value in a record, all but the hashes that it was read from."""

_NAMES = {"id", "title", "each", "standing", "few"}
"""Of a column, what does not bear on its figures, or is said by the number of images."""


def described(column: Column, size: Size) -> dict[str, Any]:
    """A column as a record has it: with what measures it, so that a changed one can be told."""
    images = size.few if column.few else size.images
    return {
        "id": column.id,
        "title": column.title or column.id,
        "unit": column.unit,
        "command": column.command(images, size.test),
        "at": column.id.partition("@")[2],
        "definition": {
            **column.model_dump(mode="json", exclude_defaults=True, exclude=_NAMES),
            "images": images,
            "test": size.test,
        },
    }


class Kept:
    """The figures of a record, or of none."""

    def __init__(self, record: Mapping[str, Any] | None = None) -> None:
        known = record or {"rows": [], "tables": [], "cells": []}
        self._rows = {row["label"]: row for row in known["rows"]}
        self._columns = {column["id"]: column for table in known["tables"] for column in table["columns"]}
        self._values = {
            (cell["row"], cell["column"], value["seed"]): (value, cell["images"])
            for cell in known["cells"]
            for value in cell.get("values", ())
        }

    def trained_by(self, label: str, command: str) -> bool:
        """Whether the record's row was trained by just this command."""
        return label in self._rows and bool(command) and self._rows[label]["command"] == command

    def chosen(self, label: str, choice: Mapping[str, Any] | None) -> str | None:
        """The row that was taken for ``label``, if it was chosen among the same ones in the same way."""
        row = self._rows.get(label, {})
        return row.get("chosen") if choice is not None and row.get("choice") == choice else None

    def measures(self, columns: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the record's columns of these names measured the same."""
        return all(self._columns.get(one["id"], {}).get("definition") == one["definition"] for one in columns)

    def reading(self, label: str, column: str, seed: int) -> Reading | None:
        """A figure of one run; whether it is of the same row and column is for the caller to ask."""
        value, images = self._values.get((label, column, seed), (None, None))
        if value is None:
            return None
        outcomes = None if images is None else unpacked(value, images)
        return Reading(
            value["value"],
            images,
            {key: text for key, text in value.items() if key not in _BESIDE},
            None if outcomes is None else tuple(map(int, outcomes)),
            value.get("error"),
        )
