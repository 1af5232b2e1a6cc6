"""A small sweep of a quickstart recipe, and attempts in this very process that may fail."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from reinforced.studies.sweep.job import Job, work
from reinforced.studies.sweep.pools import Ended
from reinforced.studies.sweep.study import Entry, Study, entries_of, load_study
from reinforced.studies.sweep.sweep import Place, Sweep

STUDY = {
    "schema": 1,
    "name": "small",
    "seeds": [0, 1],
    "overrides": {"phases.0.epochs": 1, "data.limit": 200},
    "grid": {"recipes": ["quickstart/sl"]},
    "evaluate": {"threats": ["digits"], "attacks": ["fgsm"], "images": 70},
}


class Here:
    """Attempts in this very process; ``faults`` maps the number of an attempt to what it does instead."""

    def __init__(self, faults: dict[int, Callable[[], str | None]] | None = None) -> None:
        self.faults = faults or {}
        self.started: list[str] = []
        self.stopped = False
        self._job: tuple[str, Job] | None = None

    def free(self) -> bool:
        return self._job is None

    def start(self, name: str, job: Job, log: Path) -> None:
        self.started.append(name)
        self._job = name, job

    def ended(self) -> list[Ended]:
        assert self._job is not None
        (name, job), self._job = self._job, None
        fault = self.faults.get(len(self.started))
        if fault is not None:
            return [Ended(name, fault())]
        work(job)
        return [Ended(name, None)]

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        self._job = None


def small(folder: Path, **values: Any) -> Sweep:
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(STUDY | values))
    study = load_study(file)
    place = Place(folder / "out", "cpu", None, "reinforced sweep small.yaml")
    return Sweep(study, entries_of(study, folder, place.folder), place, lambda states: None)


def one(folder: Path, **values: Any) -> tuple[Study, Entry]:
    sweep = small(folder, **values)
    return sweep.study, sweep.entries[0]
