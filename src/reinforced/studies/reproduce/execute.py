"""Do a study's jobs one after the other; several processes may share them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reinforced.errors import Interrupted, InUse, ReinforcedError
from reinforced.files import locked
from reinforced.studies.reproduce.paper import Table
from reinforced.studies.reproduce.records import record_of, write_record
from reinforced.studies.reproduce.survey import Job, Survey


@dataclass(frozen=True)
class Outcome:
    """How it ended.

    Attributes:
        busy: jobs that other processes are at, or that wait for those.
        failed: jobs that could not be done, each with its error.
    """

    record: Path
    busy: tuple[Job, ...]
    failed: tuple[tuple[Job, str], ...]


def execute(
    survey: Survey,
    tables: Sequence[Table],
    *,
    name: str,
    records: Path,
    again: str,
    told: Callable[[str], None],
) -> Outcome:
    """Do what is left of some tables, and write the study's record after each job.

    A job that fails does not stop the others, nor does one that another process is at: it is looked at again
    after them. What is done stays done: the same command goes on.

    Args:
        survey: the study.
        tables: of it.
        name: of the study.
        records: folder of the record.
        again: the command that goes on, for messages.
        told: hears what is being done.

    Raises:
        Interrupted: a signal; everything done is saved.
        ReinforcedError: a record that cannot be written, or figures that must not be set side by side.
    """
    left = list(survey.jobs(tables))
    failed: list[tuple[Job, str]] = []
    path = _write(survey, name, records)
    try:
        while True:
            busy: list[Job] = []
            for job in left:
                try:
                    if survey.done(job):
                        continue
                    told(str(job))
                    survey.do(job, lambda what, job=job: told(f"{job}: {what}"))  # type: ignore[misc]
                except InUse:
                    busy.append(job)
                    continue
                except Interrupted:
                    raise
                except ReinforcedError as error:
                    failed.append((job, str(error)))
                    continue
                path = _write(survey, name, records)
            if len(busy) in (0, len(left)):  # all done, or none of what is left has become free
                break
            left = busy
    except (Interrupted, KeyboardInterrupt) as stopped:
        code = stopped.exit_code if isinstance(stopped, Interrupted) else 130
        raise Interrupted(f"stopped; everything done is saved: go on with `{again}`", code) from None
    return Outcome(path, tuple(busy), tuple(failed))


def _write(survey: Survey, name: str, records: Path) -> Path:
    """One process after the other, or one's older view of the runs would replace another's."""
    lock = survey.place.runs / f"{name}-{survey.size_name}.lock"
    with locked(lock, "--runs", wait=True):
        return write_record(records, record_of(survey, name))
