"""A study at one size: its runs, what has been measured of them, and what is left to do, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch

from reinforced.errors import InUse, ReinforcedError, did_you_mean
from reinforced.files import locked
from reinforced.studies.reproduce.kept import Kept, described
from reinforced.studies.reproduce.measures import Bench, Column, Reading
from reinforced.studies.reproduce.paper import Paper, Row, Size, Table
from reinforced.studies.reproduce.shelf import Shelf, recipe_of, training_command
from reinforced.training.loop import train
from reinforced.training.progress import progress_bar
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory


@dataclass(frozen=True)
class Place:
    """Where a study computes: folder of runs, device, folder of data sets."""

    runs: Path
    device: torch.device
    root: Path | None


@dataclass(frozen=True)
class Job:
    """One thing to do: train a row's run, or measure a column of it.

    Attributes:
        table: number of the table that asks for it first.
        column: ``None`` to train.
    """

    table: str
    label: str
    seed: int
    column: Column | None

    def __str__(self) -> str:
        """What it is called on the screen."""
        what = "train" if self.column is None else self.column.id
        return f"table {self.table}: {self.label}, seed {self.seed}: {what}"


class Survey:
    """What is known of a study; files are read anew each time, for other processes may work on it too.

    What its record kept counts for as much as what lies in the runs: nothing of it is done again.
    """

    def __init__(self, paper: Paper, size_name: str, place: Place, kept: Kept | None = None) -> None:
        self.paper, self.size_name, self.place = paper, size_name, place
        self._kept = kept or Kept()
        self.size: Size = paper.sizes[size_name]
        self._shelf = Shelf(place.runs)
        self._columns = {column.id: column for _, column in paper.columns(size_name)}
        self._runs: dict[tuple[str, int], Path] = {}

    def seeds(self, label: str) -> tuple[int, ...]:
        """The seeds that a row is asked for with."""
        return self.paper.seeds(label, self.size_name)

    def columns(self, table: Table) -> list[Column]:
        """Of a table, those of ``each`` one by one."""
        return [column for of, column in self.paper.columns(self.size_name) if of.number == table.number]

    def resolved(self, label: str) -> Row | None:
        """A row with its recipe; ``None`` where the rows that it is chosen among are not finished.

        Raises:
            ReinforcedError: those have no metric of the name that it is chosen by.
        """
        row = self.paper.row(label)
        if row.choose is None:
            return row
        scores: dict[str, float] = {}
        for candidate in row.choose.among:
            found = [self._score(candidate, seed, row.choose.by) for seed in self.seeds(candidate)]
            known = [one for one in found if one is not None]
            if len(known) < len(found):
                chosen = self._kept.chosen(label, self.choice(label))
                return None if chosen is None else self.resolved(chosen)
            scores[candidate] = sum(known) / len(known)
        return self.resolved(max(scores, key=lambda name: scores[name]))

    def choice(self, label: str) -> dict[str, Any] | None:
        """What a row is chosen among and by, with all that decides it; ``None`` of a row with a recipe."""
        choose = self.paper.row(label).choose
        if choose is None:
            return None
        among = {one: {"command": self.command(one), "seeds": list(self.seeds(one))} for one in choose.among}
        return {"among": among, "by": choose.by}

    def command(self, label: str) -> str:
        """What trains a row by hand, but for seed and run directory; empty where it is not chosen yet."""
        row = self.settled(label)
        return "" if row is None else training_command(row, self.size_name, self.size)

    def settled(self, label: str) -> Row | None:
        """As :meth:`resolved`, and ``None`` as well where that fails: the row's own jobs say why."""
        try:
            return self.resolved(label)
        except ReinforcedError:
            return None

    def recipe(self, label: str, seed: int) -> Recipe | None:
        """What is trained; ``None`` as in :meth:`resolved`."""
        row = self.resolved(label)
        return None if row is None else recipe_of(row, self.size_name, self.size, seed)

    def run(self, label: str, seed: int) -> Path | None:
        """The run directory, existing or to be made; ``None`` as in :meth:`resolved`."""
        if (label, seed) not in self._runs:
            recipe = self.recipe(label, seed)
            if recipe is None:
                return None
            self._runs[label, seed] = self._shelf.find(recipe, label)
        return self._runs[label, seed]

    def trained(self, label: str, seed: int) -> bool:
        """Whether its training has finished."""
        run = self.run(label, seed)
        return run is not None and RunDirectory(run).summary() is not None

    def bench(
        self, label: str, seed: int, read: Callable[[str, int, str], Reading | None] | None = None
    ) -> Bench:
        """Where a trained run is measured; ``read`` reads its other columns."""
        run = self.run(label, seed)
        assert run is not None
        return Bench(
            run,
            self.size.images,
            self.size.few,
            self.size.test,
            self.place.device,
            self.place.root,
            sibling=lambda other: self._finished(other, seed),
            neighbour=lambda other: self._finished(other, self._next_seed(other, seed)),
            other=partial(read or self.reading, label, seed),
        )

    def reading(self, label: str, seed: int, column: str) -> Reading | None:
        """A column's figure of one run, if it has been measured: here, or for the record.

        Raises:
            ReinforcedError: what was measured has no such figure, or its file is damaged.
        """
        return self._here(label, seed, column) or self._remembered(label, seed, self._columns[column])

    def known(self, label: str, seed: int, column: str) -> Reading | None:
        """As :meth:`reading`, and ``None`` as well where that fails: the column's own job says why."""
        try:
            return self.reading(label, seed, column)
        except ReinforcedError:
            return None

    def jobs(self, tables: Sequence[Table]) -> Iterator[Job]:
        """What is to be done, in order; each table's first seed first, training before measuring.

        Columns that need their sources' every seed come after all of them. A run that is not here is trained
        only if something waits for it.
        """
        seen: set[tuple[str, int, str]] = set()
        for table in tables:
            labels, columns = self.paper.labels(table), self._measured(table)
            trained, waited = self._needed(labels, columns), self._waited(labels, columns)
            turns = range(max(len(self.seeds(label)) for label in trained))
            early = (None, *(column for column in columns if not column.all_seeds))
            late = [column for column in columns if column.all_seeds]
            for turn, column in (*product(turns, early), *product(turns, late)):
                for label in trained if column is None else labels:
                    seeds = self.seeds(label)
                    key = (label, turn, "" if column is None else column.id)
                    if turn >= len(seeds) or key in seen:
                        continue
                    one = (label, seeds[turn])
                    if column is not None or one in waited or self.trained(*one):
                        seen.add(key)
                        yield Job(table.number, *one, column)

    def done(self, job: Job) -> bool:
        """Whether nothing is left of a job; of one that cannot be read there is, and doing it says why."""
        if job.column is None:
            return self.settled(job.label) is not None and self.trained(job.label, job.seed)
        return self.known(job.label, job.seed, job.column.id) is not None

    def do(self, job: Job, told: Callable[[str], None]) -> None:
        """Do a job, going on where an earlier process stopped.

        Raises:
            InUse: another process is at it, or at what it needs.
            ReinforcedError: whatever it has to say.
            Interrupted: a signal while training; the state is saved.
        """
        if job.column is None:
            # Somebody else may have begun this very recipe since.
            self._shelf, self._runs = Shelf(self.place.runs), {}
        run, recipe = self.run(job.label, job.seed), self.recipe(job.label, job.seed)
        if run is None or recipe is None:
            raise InUse(f"{job}: the rows that it is chosen among are not finished")
        if job.column is None:
            # A run that was there keeps its own name and source, which decide nothing.
            own = RunDirectory(run).recipe if (run / "recipe.yaml").is_file() else recipe
            with progress_bar(f"{job.label}, seed {job.seed}") as bar:
                train(own, run, device=self.place.device, data_root=self.place.root, reporter=bar)
            return
        if not all(self.trained(*one) for one in self._asks_for(job.label, job.seed, job.column)):
            raise InUse(f"{job}: a run that it needs is not finished")
        with locked(run / "reproduce.lock", "--runs"):
            reading = partial(self.reading, job.label, job.seed, job.column.id)
            if reading() is None:  # another process may just have done it
                job.column.make(self.bench(job.label, job.seed), told)
                reading()  # what cannot be read now has failed

    def _needed(self, labels: Sequence[str], columns: Sequence[Column]) -> list[str]:
        """The rows that must be trained for a table, those that others are chosen among first."""
        own = [*labels, *(label for column in columns for label in column.sources)]
        chosen = [row.choose for row in map(self.paper.row, own) if row.choose is not None]
        return list(dict.fromkeys([*(label for one in chosen for label in one.among), *own]))

    def _asks_for(self, label: str, seed: int, column: Column) -> list[tuple[str, int]]:
        """The runs, of row and seed, that a figure is measured on."""
        found = [(label, seed)]
        for source in column.sources:
            found += [(source, one) for one in (self.seeds(source) if column.all_seeds else (seed,))]
        return found

    def _waited(self, labels: Sequence[str], columns: Sequence[Column]) -> set[tuple[str, int]]:
        """The runs that figures still to be measured ask for, and those to choose one of them among."""
        found = {
            run
            for label, column in product(labels, columns)
            for seed in self.seeds(label)
            if self.known(label, seed, column.id) is None
            for run in self._asks_for(label, seed, column)
        }
        open_choices = [self.choice(label) or {} for label, _ in found if self.settled(label) is None]
        among = {one for choice in open_choices for one in choice.get("among", ())}
        return found | {(one, seed) for one in among for seed in self.seeds(one)}

    def _measured(self, table: Table) -> list[Column]:
        """The columns of a table, and the parts of those that are made from others."""
        found = {column.id: column for column in self.columns(table)}
        for column in list(found.values()):
            found.update({one.id: one for one in self._made_from(column)})
        return [column for column in found.values() if not column.parts]

    def _score(self, label: str, seed: int, by: str) -> float | None:
        if not self.trained(label, seed):
            return None
        run = self.run(label, seed)
        assert run is not None
        row = RunDirectory(run).metrics()[-1]
        if by not in row:
            raise ReinforcedError(f"choose by: {run} has no {by}{did_you_mean(by, row)}")
        return float(row[by])

    def _finished(self, label: str, seed: int) -> Path | None:
        return self.run(label, seed) if self.trained(label, seed) else None

    def _next_seed(self, label: str, seed: int) -> int:
        """The row's seed after ``seed``, after its last the first again."""
        seeds = self.seeds(label)
        if len(seeds) < 2:
            raise ReinforcedError(
                f"row {label}: has seed {seeds[0]} alone; a transfer needs the model of another seed"
            )
        return min([one for one in seeds if one > seed] or seeds)

    def _here(self, label: str, seed: int, column: str) -> Reading | None:
        """What lies in the run, and for a column made from others, in the run alone."""
        if not self.trained(label, seed):
            return None
        return self._columns[column].read(self.bench(label, seed, self._here))

    def _remembered(self, label: str, seed: int, column: Column) -> Reading | None:
        """What the record kept; a column made from others may join that with what lies in the run."""
        columns, rows = list(self._made_from(column)), (label, *column.sources)
        if all(self._kept.trained_by(row, self.command(row)) for row in rows) and self._kept.measures(
            [described(one, self.size) for one in columns]
        ):
            found = self._kept.reading(label, column.id, seed)
            if found is not None:
                return found
        if not column.parts or self.run(label, seed) is None:
            return None
        return column.read(self.bench(label, seed))

    def _made_from(self, column: Column) -> Iterator[Column]:
        """The column, its parts, and theirs."""
        yield column
        for part in column.parts:
            yield from self._made_from(self._columns[part])
