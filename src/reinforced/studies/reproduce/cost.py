"""What a study will take: passes left to do, times the speed of a few steps timed here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from reinforced.studies.reproduce.paper import Table
from reinforced.studies.reproduce.survey import Job, Survey
from reinforced.studies.sweep import cost as sweep_cost
from reinforced.studies.sweep.study import Entry, Listed, Study


@dataclass(frozen=True)
class TableCost:
    """What is left of a table, and has not been counted for one before it.

    Attributes:
        jobs, done: how many there are, and how many are finished.
        passes: through its networks, in images; an attack's from the share expected to stand.
        training, measuring: seconds that they take on one process.
        open: jobs whose row is not chosen yet, and which are not in the seconds.
    """

    table: Table
    jobs: int
    done: int
    passes: float
    training: float
    measuring: float
    open: int


def estimate(survey: Survey, tables: Sequence[Table]) -> list[TableCost]:
    """The cost of each table; nothing is trained.

    Raises:
        ReinforcedError: no such data or network.
    """
    jobs = list(survey.jobs(tables))
    undone = [job for job in jobs if not survey.done(job)]
    costs = _timed(survey, undone)
    shared: set[tuple[str, int, str]] = set()
    found = []
    for table in tables:
        own = [job for job in jobs if job.table == table.number]
        left = [job for job in undone if job.table == table.number]
        passes = training = measuring = 0.0
        unknown = 0
        for job in left:
            cost = costs.get((job.label, job.seed))
            if cost is None:
                unknown += 1
            elif job.column is None:
                passes += cost.training
                training += cost.training / cost.speed
            else:
                images = survey.size.few if job.column.few else survey.size.images
                # Columns of one measurement have one command, and the last epoch is the last checkpoint.
                last = f" --checkpoint {costs[job.label, job.seed].entry.recipe.epochs}"
                command = job.column.command(images, None).removesuffix(last)
                if not command or (job.label, job.seed, command) not in shared:
                    shared.add((job.label, job.seed, command))
                    passes += job.column.passes(images)
                    measuring += job.column.passes(images) / cost.attack_speed
        found.append(TableCost(table, len(own), len(own) - len(left), passes, training, measuring, unknown))
    return found


def _timed(survey: Survey, jobs: Sequence[Job]) -> dict[tuple[str, int], sweep_cost.Cost]:
    """What is left of each run's training, and the speed of its network."""
    entries: dict[tuple[str, int], Entry] = {}
    for job in jobs:
        if survey.settled(job.label) is None:
            continue
        recipe, run = survey.recipe(job.label, job.seed), survey.run(job.label, job.seed)
        assert recipe is not None
        assert run is not None
        name = f"{job.label}, seed {job.seed}"
        entries[job.label, job.seed] = Entry(name, job.label, {}, recipe, run)
    nothing = Study(entries=(Listed(recipe="any"),))
    timed = sweep_cost.estimate(
        nothing,
        list(entries.values()),
        device=survey.place.device,
        threads=torch.get_num_threads(),
        root=survey.place.root,
    )
    return dict(zip(entries, timed, strict=True))
