"""The study file: what is trained, what is measured of it, and which claims that bears on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from reinforced.component import Component, setting
from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.studies.reproduce.measures import AnyColumn, Column
from reinforced.training.recipes import explain, read_yaml

_COLUMN: TypeAdapter[Column] = TypeAdapter(AnyColumn)


class Size(Component):
    """How much is done; figures of different sizes are never in one table."""

    recipe: str = setting("full", "which of the recipes' sizes")
    seeds: tuple[int, ...] = setting(..., "each row is trained with each", min_length=1)
    images: int = setting(..., "the first so many test images", ge=1)
    few: int = setting(..., "the same for dear columns", ge=1)
    test: str | None = setting(None, "data source of the test images; each run's own if left out")
    overrides: dict[str, Any] = setting({}, "key.path to value, of every row; a row's own win")
    note: str = setting("", "what a reader must know of this size")


class Choose(Component):
    """Takes the settings of the row that is best on validation images."""

    among: tuple[str, ...] = setting(..., "labels of rows", min_length=2)
    by: str = setting("robust_validation_accuracy", "of the last epoch, mean over the seeds")


class Row(Component):
    """One method."""

    label: str = setting(..., "what it is called", min_length=1)
    recipe: str = setting("", "a shipped recipe's name")
    overrides: dict[str, Any] = setting({}, "key.path to value")
    sizes: dict[str, dict[str, Any]] = setting({}, "further overrides, by size")
    seeds: dict[str, tuple[int, ...]] = setting({}, "in place of a size's, by size")
    choose: Choose | None = setting(None, "in place of a recipe")

    @model_validator(mode="after")
    def _one_of_them(self) -> Row:
        if bool(self.recipe) == (self.choose is not None):
            raise ValueError(f"row {self.label}: give a recipe or choose, one of them")
        return self


class Drawing(Component):
    """The table is also drawn: its columns with ``each`` along ``x``, or with ``curves`` a point a row."""

    x: str = setting(..., "label of the values of each; with curves a column's id")
    y: str = setting("accuracy", "label of what the columns show; with curves a column's id")
    log: bool = setting(False, "x is logarithmic")
    curves: dict[str, tuple[str, ...]] = setting({}, "what a curve is called, and the rows that it joins")


class Table(Component):
    """Some rows by some columns."""

    number: str = setting(..., "2.1; chosen by it, or by what is before its point", min_length=1)
    title: str = setting(..., "what it shows")
    note: str = setting("", "how to read it")
    rows: tuple[str, ...] = setting((), "labels; all rows if left out")
    columns: tuple[AnyColumn, ...] = setting(..., "what is measured", min_length=1)
    figure: Drawing | None = setting(None, "draw it")

    @model_validator(mode="after")
    def _drawn(self) -> Table:
        if self.figure is None or not self.figure.curves:
            return self
        ids = [column.id for column in self.columns]
        for name in (self.figure.x, self.figure.y):
            _known([name], ids, f"table {self.number}: figure: no column")
        for label, rows in self.figure.curves.items():
            _known(rows, self.rows, f"table {self.number}: curve {label}: no row")
        return self


class Published(Component):
    """A figure that the paper gives, shown beside the cell."""

    row: str = setting(..., "label")
    column: str = setting(..., "id")
    percent: float = setting(..., "the figure", unit="%")
    source: str = setting(..., "where it stands, and what else it depends on", min_length=1)
    sizes: tuple[str, ...] = setting((), "beside which sizes; all if left out")


class Term(Component):
    """A cell."""

    row: str
    column: str


class Condition(Component):
    """A cell, or its difference to another, lies between two bounds."""

    cell: Term
    minus: Term | None = None
    least: float | None = None
    most: float | None = None
    seeds: tuple[int, ...] = setting(
        (), "these alone, of a claim that the others have suggested; all if left out"
    )

    @model_validator(mode="after")
    def _bounded(self) -> Condition:
        if self.least is None and self.most is None:
            raise ValueError("give least, most, or both")
        return self

    @property
    def terms(self) -> tuple[Term, ...]:
        """The cells that it needs."""
        return (self.cell,) if self.minus is None else (self.cell, self.minus)


class Claim(Component):
    """A sentence and what decides it: it holds if all conditions surely do, not if one surely does not.

    What it takes for ``given``, such as rows that were fitted alike, must be so of the measured means, or it
    is not testable here.
    """

    claim: str = setting(..., "the sentence", min_length=1)
    source: str = setting(..., "who says it")
    given: tuple[Condition, ...] = setting((), "what makes it testable")
    conditions: tuple[Condition, ...] = setting((), "none: not testable here")
    note: str = setting("", "why it is not testable, or what the conditions leave out")

    @model_validator(mode="after")
    def _reasoned(self) -> Claim:
        if not self.conditions and not self.note:
            raise ValueError("without conditions, say in note why it is not testable")
        return self


class Paper(Component):
    """A study."""

    schema_version: Literal[1] = Field(1, alias="schema", description="version of this format")
    title: str = setting(..., "of its part of the page")
    question: str = setting(..., "what it is to answer")
    assumed: tuple[str, ...] = setting((), "what the paper leaves open, and what was taken")
    sizes: dict[str, Size] = setting(..., "by name: cpu, full", min_length=1)
    rows: tuple[Row, ...] = setting(..., "what is trained; shared between tables", min_length=1)
    tables: tuple[Table, ...] = setting(..., "in the order in which they are run", min_length=1)
    published: tuple[Published, ...] = setting((), "the paper's figures")
    claims: tuple[Claim, ...] = setting((), "the ledger")

    @model_validator(mode="after")
    def _names(self) -> Paper:
        labels = [row.label for row in self.rows]
        ids = {column.id for size in self.sizes for _, column in self.columns(size)}
        _unique(labels, "row")
        _unique([table.number for table in self.tables], "table")
        named = [(label, "table " + table.number) for table in self.tables for label in table.rows]
        named += [
            (label, f"row {row.label}") for row in self.rows if row.choose for label in row.choose.among
        ]
        named += [(one.row, "published") for one in self.published]
        conditions = [one for claim in self.claims for one in (*claim.given, *claim.conditions)]
        terms = [term for one in conditions for term in one.terms]
        named += [(term.row, "claims") for term in terms]
        columns = [(one.column, "published") for one in self.published]
        columns += [(term.column, "claims") for term in terms]
        for size in self.sizes:
            own = [column for _, column in self.columns(size)]
            _unique([column.id for column in own], "column")
            known = [column.id for column in own]
            for column in own:
                column.check()
                named += [(label, f"column {column.id}") for label in column.sources]
                _known(column.parts, known, f"column {column.id}: no column")
        for label, where in named:
            _known([label], labels, f"{where}: no row")
        for name, where in columns:
            _known([name], sorted(ids), f"{where}: no column")
        each = [(one, term.row, name) for one in conditions for term in one.terms for name in self.sizes]
        for one, label, name in each:
            absent = set(one.seeds) - set(self.seeds(label, name))
            if absent:
                raise ValueError(f"claims: size {name}: row {label} has no seed {min(absent)}")
        return self

    def seeds(self, label: str, size: str) -> tuple[int, ...]:
        """The seeds that a row is asked for with."""
        return self.row(label).seeds.get(size, self.sizes[size].seeds)

    def row(self, label: str) -> Row:
        """By its label."""
        return next(row for row in self.rows if row.label == label)

    def labels(self, table: Table) -> tuple[str, ...]:
        """The rows of a table."""
        return table.rows or tuple(row.label for row in self.rows)

    def columns(self, size: str) -> Iterator[tuple[Table, Column]]:
        """Every column of every table, with those of ``each`` one by one."""
        for table in self.tables:
            for column in table.columns:
                for one in expand(column, size):
                    yield table, one


def expand(column: Column, size: str) -> list[Column]:
    """A column as it is at a size: one for each value that ``{}`` takes."""
    raw = column.model_dump(by_alias=True)
    if isinstance(raw.get("of"), dict):  # of a peak
        raw["of"] = raw["of"].get(size, ())
    if not column.each:
        return [_COLUMN.validate_python(raw)]
    values = column.each.get(size, ()) if isinstance(column.each, dict) else column.each
    texts = [value if isinstance(value, str) else f"{value:g}" for value in values]
    return [
        _COLUMN.validate_python(_filled(raw, text) | {"id": f"{column.id}@{text}", "each": ()})
        for text in texts
    ]


def paper_names() -> list[str]:
    """The shipped studies."""
    return sorted(path.stem for path in _shipped().glob("*.yaml"))


def load_paper(name: str) -> Paper:
    """A shipped study by its name, or a study file.

    Raises:
        ReinforcedError: no such study, broken YAML, an unknown field, row or column.
    """
    path = Path(name) if name.endswith(".yaml") else _shipped() / f"{name}.yaml"
    if not path.is_file():
        near = f"no study file {name}" if name.endswith(".yaml") else None
        raise ReinforcedError(near or f"no study {name!r}{did_you_mean(name, [*paper_names(), 'page'])}")
    values: Any = OmegaConf.to_container(read_yaml(path, "study"))
    try:
        return Paper.model_validate(values)
    except ValidationError as error:
        raise ReinforcedError(f"{path.name}: {explain(error, Paper)}") from None
    except ReinforcedError as error:
        raise ReinforcedError(f"{path.name}: {error}") from None


def choose_size(paper: Paper, name: str, study: str) -> Size:
    """One of a study's sizes.

    Raises:
        ReinforcedError: it has no such size.
    """
    if name not in paper.sizes:
        raise ReinforcedError(f"study {study} has no size {name!r}{did_you_mean(name, paper.sizes)}")
    return paper.sizes[name]


def choose_tables(paper: Paper, wanted: Sequence[str], study: str) -> list[Table]:
    """Tables by number, ``2`` for all of 2.1, 2.2, ...; all if none is named.

    Raises:
        ReinforcedError: there is none of that number.
    """
    numbers = [table.number for table in paper.tables]
    for name in wanted:
        if not any(_within(number, name) for number in numbers):
            raise ReinforcedError(f"study {study} has no table {name!r}{did_you_mean(name, numbers)}")
    return [
        table for table in paper.tables if not wanted or any(_within(table.number, one) for one in wanted)
    ]


def _within(number: str, name: str) -> bool:
    return number == name or number.startswith(f"{name}.")


def _shipped() -> Path:
    return Path(str(resources.files("reinforced"))) / "papers"


def _filled(value: Any, text: str) -> Any:
    if isinstance(value, str):
        return value.replace("{}", text)
    if isinstance(value, dict):
        return {key: _filled(inner, text) for key, inner in value.items()}
    return [_filled(inner, text) for inner in value] if isinstance(value, (list, tuple)) else value


def _unique(names: Sequence[str], what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ReinforcedError(f"{what} {twice[0]} is in it twice")


def _known(names: Sequence[str], options: Sequence[str], what: str) -> None:
    for name in names:
        if name not in options:
            raise ReinforcedError(f"{what} {name!r}{did_you_mean(name, options)}")
