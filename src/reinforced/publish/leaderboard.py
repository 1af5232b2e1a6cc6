"""A table of robust accuracies for each data set and threat, made of records and of nothing else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from reinforced.errors import ReinforcedError
from reinforced.publish.entries import Entry, entries
from reinforced.report.folder import find_runs
from reinforced.report.reading import interval, number, text
from reinforced.report.records import read_runs


@dataclass(frozen=True)
class Row:
    """One model under one threat; figures that do not exist are not-a-number.

    Attributes:
        rank: 1 for the most robust, equal for equals; ``None`` where ``notes`` say why there is none.
        robust: the per-image worst case over all attacks, with its 95 % ``interval``.
        verified: whether separate code checked the adversarial examples.
        attacks: what it was put under, in order.
    """

    rank: int | None
    model: str
    recipe: str
    clean: float
    autoattack: float
    robust: float
    interval: tuple[float, float]
    verdict: str
    verified: str
    attacks: str
    notes: str


@dataclass(frozen=True)
class Table:
    """Models on the same images under the same threat; ``data_sha256`` is the images' and labels' hash."""

    data: str
    threat: str
    images: int
    data_sha256: str
    skip: int
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """What all rows have in common."""
        which = f" after the first {self.skip:,}" if self.skip else ""
        return f"{self.data}, {self.threat}, {self.images:,} images{which}"


@dataclass(frozen=True)
class Leaderboard:
    """All tables by title, and the runs that are in none."""

    tables: tuple[Table, ...]
    without: tuple[str, ...]


def leaderboard(folder: Path) -> Leaderboard:
    """Gather the evaluations of all runs in ``folder``.

    A rank takes AutoAttack on every rightly classified image, no crash, and examples that did not fail their
    check; of several evaluations of the same weights the one that leaves least is ranked. Ranks compare
    the per-image worst case, and only on the same images under the same threat.

    Raises:
        ReinforcedError: no such folder, no run in it, or no run that was evaluated.
    """
    runs = [replace(run, name=_name(run.path, folder)) for run in read_runs(find_runs(folder))]
    groups: dict[tuple[str, str, int, str, int], list[Entry]] = {}
    for run in runs:
        for entry in entries(run):
            found = entry.evaluation
            on = (entry.data, found.threat, found.images, entry.images, found.skip)
            groups.setdefault(on, []).append(entry)
    if not groups:
        raise ReinforcedError(f"no run in {folder} was evaluated; try `reinforced evaluate {runs[0].path}`")
    tables = [Table(*on, _rows(members)) for on, members in sorted(groups.items())]
    return Leaderboard(tuple(tables), tuple(run.name for run in runs if not run.evaluations))


def _name(run: Path, folder: Path) -> str:
    """Of a run, without the folders above the one that was asked for."""
    return run.resolve().name if run == folder else run.relative_to(folder).as_posix()


def _rows(members: Sequence[Entry]) -> tuple[Row, ...]:
    least: dict[str, Entry] = {}
    for entry in members:
        weights = entry.weights or str(entry.evaluation.folder)
        known = least.get(weights)
        if not entry.doubts and (known is None or _robust(entry) < _robust(known)):
            least[weights] = entry
    ranked = sorted(
        (_row(entry, ()) for entry in least.values()),
        key=lambda row: (-row.robust, -row.clean, row.model),
    )
    standing = [row.robust for row in ranked]
    first = [replace(row, rank=1 + standing.index(row.robust)) for row in ranked]
    chosen = {id(entry) for entry in least.values()}
    others = [
        _row(entry, entry.doubts or ("these weights are ranked by another evaluation that leaves no more",))
        for entry in members
        if id(entry) not in chosen
    ]
    others += [row for entry in members for row in _as_released(entry)]
    return (*first, *sorted(others, key=lambda row: (-_or_zero(row.robust), row.model, row.attacks)))


def _row(entry: Entry, notes: Sequence[str]) -> Row:
    found = entry.evaluation
    return Row(
        None,
        entry.model,
        text(entry.run.recipe, "name"),
        found.clean_accuracy,
        found.autoattack_accuracy,
        found.robust_accuracy,
        found.interval,
        entry.verdict,
        entry.verification,
        ", ".join(attack.name for attack in found.attacks),
        "; ".join(("unranked", *notes)) if notes else "",
    )


def _robust(entry: Entry) -> float:
    return entry.evaluation.robust_accuracy


def _as_released(entry: Entry) -> list[Row]:
    """The released procedure's own claims, which no attack was held to."""
    return [
        replace(
            _row(entry, (text(claim, "mark", "as released"),)),
            autoattack=math.nan,
            robust=number(claim, "accuracy"),
            interval=interval(claim, "interval"),
            attacks=text(claim, "name"),
        )
        for claim in entry.evaluation.as_released
    ]


def _or_zero(value: float) -> float:
    return value if math.isfinite(value) else 0.0
