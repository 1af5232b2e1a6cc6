"""Run a study: what its records do not show finished is attempted, and attempted again if it fails."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reinforced.data.places import data_root
from reinforced.errors import Interrupted, ReinforcedError
from reinforced.files import locked, write_text
from reinforced.studies.sweep.job import Job
from reinforced.studies.sweep.pools import Pool
from reinforced.studies.sweep.records import error_of, keep_error, to_do
from reinforced.studies.sweep.study import Entry, Study, check_runs, study_yaml
from reinforced.studies.sweep.table import Row, row_of, write_table
from reinforced.training.interrupt import stop_requests

TABLE = "sweep.parquet"
Told = Callable[[Mapping[str, str]], None]
"""Hears what each entry is doing: waiting, running, again, finished, failed."""


@dataclass(frozen=True)
class Place:
    """Where a sweep writes and computes.

    Attributes:
        folder: of the sweep.
        device: of every worker.
        data: folder of data sets; that of the environment if left out.
        again: the command that goes on, for messages.
    """

    folder: Path
    device: str
    data: Path | None
    again: str


@dataclass
class Sweep:
    """A study in progress."""

    study: Study
    entries: Sequence[Entry]
    place: Place
    told: Told

    def __post_init__(self) -> None:
        self._states: dict[str, str] = {}
        self._rows: dict[str, Row] = {}

    def run(self, pool: Pool) -> list[Row]:
        """Attempt everything that is left; gives the table's rows, in the study's order.

        Raises:
            Interrupted: a signal; every worker has been stopped, and the same command goes on.
            ReinforcedError: the folder is in use, cannot be written, or holds runs of another study.
        """
        folder = self.place.folder
        with locked(folder / "sweep.lock", "--out"), stop_requests() as stop:
            check_runs(self.entries)
            write_text(folder / "study.yaml", study_yaml(self.study))
            left = [one for one in self.entries if to_do(self.study, one) or error_of(folder, one)]
            waiting, tries = deque(left), Counter[str]()
            by_name = {entry.name: entry for entry in self.entries}
            for entry in self.entries:
                self._look(entry, "waiting" if entry in left else "finished")
            self._write()
            running = 0
            try:
                while (waiting or running) and stop.signal is None:
                    while waiting and pool.free():
                        entry = waiting.popleft()
                        tries[entry.name] += 1
                        pool.start(entry.name, self._job(entry), folder / "logs" / f"{entry.name}.log")
                        self._states[entry.name] = "running"
                        running += 1
                    for name, error in pool.ended():
                        running -= 1
                        self._close(by_name[name], error, tries[name], waiting)
                    self.told(self._states)
                if stop.signal is not None:
                    pool.stop()
            except ReinforcedError:  # the folder cannot be written: let the attempts save all the same
                pool.stop()
                raise
            finally:
                pool.close()
                for entry in self.entries:
                    self._look(entry, self._states[entry.name])
                self._write()
            if stop.signal is not None:
                done = sum(row["state"] == "finished" for row in self._rows.values())
                raise Interrupted(
                    f"stopped with {done} of {len(self.entries)} entries finished; everything is saved: go "
                    f"on with `{self.place.again}`",
                    128 + stop.signal,
                )
        return self._table()

    def _close(self, entry: Entry, error: str | None, tries: int, waiting: deque[Entry]) -> None:
        """Note an attempt's end: finished is what its records say, and the attempt did not fail."""
        left = to_do(self.study, entry)
        if not (left or error):
            keep_error(self.place.folder, entry, None)
            self._look(entry, "finished")
        elif tries <= self.study.retries:
            waiting.append(entry)
            self._states[entry.name] = f"again: {error or left[0]}"
        else:
            keep_error(self.place.folder, entry, error or f"ended without a record of {left[0]}")
            self._look(entry, "failed")
        self._write()

    def _look(self, entry: Entry, state: str) -> None:
        self._states[entry.name] = state
        self._rows[entry.name] = row_of(self.study, entry, self.place.folder)

    def _table(self) -> list[Row]:
        return [self._rows[entry.name] for entry in self.entries]

    def _write(self) -> None:
        write_table(self.place.folder / TABLE, self.study, self._table())

    def _job(self, entry: Entry) -> Job:
        return Job(
            run=entry.run.resolve(),
            recipe=entry.recipe,
            checkpoint=self.study.checkpoint,
            evaluate=self.study.evaluate,
            diagnose=self.study.diagnose,
            device=self.place.device,
            data=data_root(self.place.data).resolve(),
            data_given=self.place.data is not None,
            cwd=Path.cwd(),
        )
