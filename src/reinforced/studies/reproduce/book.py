"""What the page's template may call: cells, differences, tables, ledgers, from records alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.studies.reproduce.drawings import figure_of
from reinforced.studies.reproduce.imagewise import over_images
from reinforced.studies.reproduce.ledger import answer, evidence
from reinforced.studies.reproduce.records import NOT_RUN, Record
from reinforced.studies.reproduce.spans import difference
from reinforced.studies.reproduce.words import cell_text, figure, is_difference, span_text

CALLS = ("has", "cell", "value", "difference", "published", "study", "table", "ledger", "drawing")


class Book:
    """What a template may call; the first argument names a record."""

    def __init__(self, records: Mapping[str, Record], where: str) -> None:
        self._records, self._where = records, where

    def calls(self) -> dict[str, Any]:
        """By name."""
        return {name: getattr(self, name) for name in CALLS}

    def has(self, name: str) -> bool:
        """Whether there is such a record."""
        return name in self._records

    def cell(self, name: str, row: str, column: str) -> str:
        """Mean and interval."""
        return cell_text(self._cell(name, row, column)) if self.has(name) else NOT_RUN

    def value(self, name: str, row: str, column: str) -> str:
        """The mean alone."""
        if not self.has(name):
            return NOT_RUN
        found, unit = self._cell(name, row, column), self._unit(name, column)
        return cell_text(found) if found.get("mean") is None else figure(found["mean"], unit)

    def difference(self, name: str, row: str, other: str, column: str, second: str = "") -> str:
        """One row minus another, in a column or in two."""
        if not self.has(name):
            return NOT_RUN
        found = difference(self._cell(name, row, column), self._cell(name, other, second or column))
        return span_text(found, self._unit(name, column))

    def published(self, name: str, row: str, column: str) -> str:
        """The paper's figure."""
        if not self.has(name):
            return NOT_RUN
        found = self._published(name).get((row, column))
        if found is None:
            raise ReinforcedError(f"template: {name}: no published figure of {row}, {column}")
        return f"{found['percent']:g} %"

    def study(self, name: str) -> str:
        """Question, settings, assumptions, every table, and the commands."""
        if not self.has(name):
            return f"`{name}`: {NOT_RUN}.\n"
        record = self._records[name]
        seeds = ", ".join(map(str, record["seeds"]))
        lines = [
            record["question"],
            "",
            f"Size `{record['size']}`: seeds {seeds}; the first {record['images']} test images, "
            f"{record['few']} where a table says so. {record['note']}".rstrip(),
        ]
        if record["assumed"]:
            lines += ["", "Assumed:", "", *(f"- {one}" for one in record["assumed"])]
        for table in record["tables"]:
            lines += ["", self.table(name, table["number"]).rstrip()]
        return "\n".join([*lines, "", _commands(record), ""])

    def table(self, name: str, number: str) -> str:
        """One table, with its drawing if it has one."""
        if not self.has(name):
            return f"{NOT_RUN}\n"
        table = self._table(name, number)
        heads = ["", *(column["title"] for column in table["columns"])]
        rows = [
            [self._label(name, label), *(self._entry(name, label, column) for column in table["columns"])]
            for label in table["rows"]
        ]
        lines = [
            " ".join(
                filter(
                    None,
                    [
                        f"**Table {number}. {table['title']}**",
                        table["note"],
                        self._few(name, table),
                        self._fresh(name, table),
                        self._seeds_alone(name, table),
                    ],
                )
            ),
            "",
            *_markdown(heads, rows),
        ]
        sources = self._sources(name, table)
        if sources:
            lines += ["", f"In round brackets the paper's: {sources}."]
        if table["figure"] is not None:
            lines += ["", self.drawing(name, number)]
        return "\n".join([*lines, ""])

    def drawing(self, name: str, number: str) -> str:
        """A table's drawing."""
        if not self.has(name):
            return NOT_RUN
        table = self._table(name, number)
        if figure_of(self._records[name], table, number) is None:  # then `draw` writes no file
            return f"Drawing: {NOT_RUN}."
        return f"![{table['title']}]({self._where}/{name}-{number}.svg)"

    def ledger(self, name: str) -> str:
        """Each claim, whether it holds, and what that rests on."""
        if not self.has(name):
            return f"{NOT_RUN}\n"
        record = self._records[name]
        cells = {(cell["row"], cell["column"]): cell for cell in record["cells"]}
        rows = [
            [
                claim["claim"],
                claim["source"],
                f"**{answer(claim, cells)}**",
                "; ".join(
                    [
                        *(self._why(name, one) for one in claim["conditions"]),
                        *(f"given {self._why(name, one, of_means=True)}" for one in claim["given"]),
                        *filter(None, [claim["note"]]),
                    ]
                ),
            ]
            for claim in record["claims"]
        ]
        return "\n".join([*_markdown(["claim", "whose", "here", "evidence"], rows), ""])

    def _why(self, name: str, condition: Mapping[str, Any], *, of_means: bool = False) -> str:
        cells = {(cell["row"], cell["column"]): cell for cell in self._records[name]["cells"]}
        first, minus = condition["cell"], condition["minus"]
        unit = self._unit(name, first["column"])
        said = f"{first['row']}, {self._title(name, first['column'])}"
        if minus is not None:
            second = [minus["row"]] if minus["row"] != first["row"] else []
            second += [self._title(name, minus["column"])] if minus["column"] != first["column"] else []
            said += f", minus {', '.join(second)}"
        if condition.get("seeds"):  # records of an earlier version have none
            said += f", seeds {', '.join(map(str, condition['seeds']))} alone"
        signed = minus is not None or is_difference(self._cell(name, first["row"], first["column"]))
        found = evidence(condition, cells)
        text = span_text(found, unit, signed=signed)
        if of_means and found is not None and math.isinf(found.high):  # no interval, and none is asked for
            text = figure(found.mean, unit, signed=signed)
        bounds = [
            f"{word} {figure(condition[word], unit, signed=signed)}"
            for word in ("least", "most")
            if condition[word] is not None
        ]
        asked = " and ".join(bounds).replace("least", "at least").replace("most", "at most")
        return f"{said}: {text} (asked: {asked})"

    def _entry(self, name: str, label: str, column: Mapping[str, Any]) -> str:
        text = cell_text(self._cell(name, label, column["id"]))
        paper = self._published(name).get((label, column["id"]))
        return text if paper is None else f"{text} ({paper['percent']:g} %)"

    def _sources(self, name: str, table: Mapping[str, Any]) -> str:
        ids = {column["id"] for column in table["columns"]}
        found = [
            one
            for (row, column), one in self._published(name).items()
            if row in table["rows"] and column in ids
        ]
        return "; ".join(dict.fromkeys(one["source"] for one in found))

    def _few(self, name: str, table: Mapping[str, Any]) -> str:
        """Which columns stand on fewer images than the study's others."""
        record = self._records[name]
        measured = [one for one in table["columns"] if one["command"]]
        few = [one["title"] for one in measured if one["definition"]["images"] < record["images"]]
        which = "" if len(few) == len(measured) else f": {', '.join(few)}"
        return f"On the first {record['few']} test images{which}." if few else ""

    def _fresh(self, name: str, table: Mapping[str, Any]) -> str:
        """Which columns stand on the test images that follow the study's."""
        count = self._records[name]["images"]
        fresh = [one["title"] for one in table["columns"] if one["definition"].get("fresh")]
        which = "" if len(fresh) == len(table["columns"]) else f": {', '.join(fresh)}"
        return f"On the {count} test images that follow the first {count}{which}." if fresh else ""

    def _seeds_alone(self, name: str, table: Mapping[str, Any]) -> str:
        """Which columns have intervals that other images would widen by nobody knows how much."""
        groups: dict[str, list[str]] = {}
        for column in table["columns"]:
            cells = [self._cell(name, label, column["id"]) for label in table["rows"]]
            known = [cell for cell in cells if cell.get("low") is not None]
            alone = [cell["row"] for cell in known if not over_images(cell)]
            others = [cell["row"] for cell in known if cell["row"] not in alone]
            fewer = ("but for", others) if len(others) < len(alone) else ("in", alone)
            which = f", {fewer[0]} {'; '.join(fewer[1])}," if others else ""
            if alone:
                groups.setdefault(which, []).append(column["title"])
        return " ".join(
            f"Over seeds alone{rows} are the intervals of: {'; '.join(titles)}."
            for rows, titles in groups.items()
        )

    def _label(self, name: str, label: str) -> str:
        record = self._records[name]
        row = next(row for row in record["rows"] if row["label"] == label)
        said = label if row["chosen"] is None else f"{label}: {row['chosen']}"
        own = row["seeds"] != record["seeds"]
        return f"{said} (seeds {', '.join(map(str, row['seeds']))})" if own else said

    def _published(self, name: str) -> dict[tuple[str, str], Mapping[str, Any]]:
        return {(one["row"], one["column"]): one for one in self._records[name]["published"]}

    def _cell(self, name: str, row: str, column: str) -> Mapping[str, Any]:
        cells = {(cell["row"], cell["column"]): cell for cell in self._records[name]["cells"]}
        if (row, column) not in cells:
            known = [f"{one}, {other}" for one, other in cells]
            near = did_you_mean(f"{row}, {column}", known)
            raise ReinforcedError(f"template: {name} has no cell {row}, {column}{near}")
        found: Mapping[str, Any] = cells[row, column]
        return found

    def _table(self, name: str, number: str) -> Mapping[str, Any]:
        tables = {table["number"]: table for table in self._records[name]["tables"]}
        if number not in tables:
            raise ReinforcedError(f"template: {name} has no table {number!r}{did_you_mean(number, tables)}")
        found: Mapping[str, Any] = tables[number]
        return found

    def _column(self, name: str, column: str) -> Mapping[str, Any]:
        every = (one for table in self._records[name]["tables"] for one in table["columns"])
        found: Mapping[str, Any] = next(one for one in every if one["id"] == column)
        return found

    def _unit(self, name: str, column: str) -> str:
        return str(self._column(name, column)["unit"])

    def _title(self, name: str, column: str) -> str:
        return str(self._column(name, column)["title"])


def _markdown(heads: list[str], rows: list[list[str]]) -> list[str]:
    def line(cells: list[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

    return [line(heads), f"|{'---|' * len(heads)}", *map(line, rows)]


def _commands(record: Record) -> str:
    again = f"reinforced reproduce {record['study']} --size {record['size']}"
    measured = [column["command"] for table in record["tables"] for column in table["columns"]]
    lines = [f"{row['label']}: {row['command']}" for row in record["rows"] if row["command"]]
    lines += dict.fromkeys(command for command in measured if command)
    # Folded away: they are many, and one command does them all.
    return "\n".join(
        [
            f"Every cell again: `{again}`. By hand:",
            "",
            "<details><summary>the commands of each row and column</summary>",
            "",
            "```",
            *lines,
            "```",
            "",
            "</details>",
        ]
    )
