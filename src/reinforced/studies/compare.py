"""Compare runs at equal epochs, at equal compute and at their best, with tests of what differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.studies.methods import group
from reinforced.studies.notes import data_notes, same_probe, same_validation, training_notes
from reinforced.studies.outcomes import Outcome, Terms, find_outcomes
from reinforced.studies.points import Difference, Point, differences, drop, point
from reinforced.studies.trained import POINTS, Trained, epochs_at, read_run
from reinforced.studies.versus import OutcomeComparison, choose_terms, compare_outcomes

Epochs = Mapping[str, Mapping[Trained, int | None]]


@dataclass(frozen=True)
class RunRecord:
    """One run.

    Attributes:
        epochs: finished ones.
        best_epoch: of the weights that training kept as best.
        test_accuracy: of the last weights on all clean test images, once the run has finished.
    """

    name: str
    path: str
    seed: int
    state: str
    epochs: int
    best_epoch: int | None
    passes: float
    test_accuracy: float | None


@dataclass(frozen=True)
class Method:
    """Runs that differ in nothing but their seed.

    Attributes:
        label: the recipe's name, and where others have it too, the settings that differ.
        runs: by rising seed.
        chosen_by: what chose the best epoch, a column of ``metrics.jsonl``.
        points: the four of training, and the drop from the best epoch to the last.
    """

    label: str
    runs: tuple[RunRecord, ...]
    chosen_by: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Comparison:
    """Everything that was compared.

    Attributes:
        equal_epochs: the most that all runs have finished; 0 if none was trained here.
        equal_passes: what the cheapest run has spent.
        differences: of the methods in validation figures; those in test figures lie in ``tests``.
        tests: for each threat.
        notes: what a reader must know of the figures.
    """

    methods: tuple[Method, ...]
    equal_epochs: int
    equal_passes: float
    differences: tuple[Difference, ...]
    tests: tuple[OutcomeComparison, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "tests": [{**asdict(t), "terms": t.terms._asdict()} for t in self.tests]}


def compare(runs: Sequence[Path], threat: ThreatModel | None = None, checkpoint: str = "last") -> Comparison:
    """Compare run directories; reads files and trains, attacks or writes nothing.

    Args:
        runs: two or more; those that differ only in their seed are one method.
        threat: only evaluations under it; all that two runs share if left out.
        checkpoint: whose test images are compared: ``last``, ``best`` or a kept epoch's number.

    Raises:
        ReinforcedError: fewer than two runs, the same run twice, damaged files, runs on different data, or no
            evaluation under the threat.
    """
    if checkpoint not in ("last", "best") and not checkpoint.isdecimal():
        raise ReinforcedError(f"checkpoint {checkpoint!r}: give last, best or a kept epoch's number")
    trained = _read(runs)
    methods = group(trained)
    epochs, equal_epochs, equal_passes = epochs_at(trained)
    at = {name: dict(zip(trained, column, strict=True)) for name, column in epochs.items()}
    found, notes = {}, training_notes(trained)
    for run in trained:
        found[run], said = find_outcomes(run)
        notes += said
    tests = []
    for name in _threats(found, threat):
        terms = choose_terms(found, name, checkpoint)
        if terms is None:
            notes.append(
                f"{name}: no two runs have an evaluation of their {checkpoint} weights with the same images, "
                "attacks and seed"
            )
            continue
        tests.append(compare_outcomes(methods, found, terms, checkpoint, at))
        notes += _left_aside(found, terms)
    notes += data_notes(trained, [[r for r in trained if r.name not in test.missing] for test in tests])
    records = {label: _method(label, members, at) for label, members in methods.items()}
    return Comparison(
        tuple(records.values()),
        equal_epochs,
        equal_passes,
        tuple(_validation_differences(trained, records)),
        tuple(tests),
        tuple(notes),
    )


def _read(paths: Sequence[Path]) -> list[Trained]:
    if len(paths) < 2:
        raise ReinforcedError(
            f"compare takes two runs or more, got {len(paths)}; `reinforced runs FOLDER` lists a folder's"
        )
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise ReinforcedError(f"{path} is given twice (as {seen[path.resolve()]}); leave one out")
        seen[path.resolve()] = path
        if not (path / "recipe.yaml").is_file() and any(path.glob("*/recipe.yaml")):
            raise ReinforcedError(f"{path} is a folder of runs; name the runs in it: {path}/*")
    names = [path.resolve().name for path in paths]
    return [
        read_run(path, name if names.count(name) == 1 else str(path))
        for path, name in zip(paths, names, strict=True)
    ]


def _threats(found: Mapping[Trained, Sequence[Outcome]], wanted: ThreatModel | None) -> list[str]:
    known = list(dict.fromkeys(one.terms.threat for several in found.values() for one in several))
    if wanted is None:
        return known
    if str(wanted) not in known:
        runs = " ".join(str(run.path) for run in found)
        raise ReinforcedError(
            f"no evaluation under {wanted}{did_you_mean(str(wanted), known)}; "
            f"first `reinforced evaluate {runs} --threat {wanted}`"
        )
    return [str(wanted)]


def _left_aside(found: Mapping[Trained, Sequence[Outcome]], terms: Terms) -> list[str]:
    others = [
        str(one.folder)
        for several in found.values()
        for one in several
        if one.terms.threat == terms.threat and one.terms != terms
    ]
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    return [f"left aside, with other images, attacks or seed: {others[0]}{more}"] if others else []


def _method(label: str, members: Sequence[Trained], at: Epochs) -> Method:
    points = {
        name: point(name, [epochs[run] for run in members], [run.at(epochs[run]) for run in members])
        for name, epochs in at.items()
    }
    lost = drop(points["best epoch"], points["last epoch"], ("validation", "robust_validation"))
    records = [
        RunRecord(
            run.name,
            str(run.path),
            run.recipe.seed,
            run.state,
            run.last,
            run.best,
            run.passes,
            run.test_accuracy,
        )
        for run in members
    ]
    return Method(label, tuple(records), members[0].chosen_by, (*points.values(), lost))


def _validation_differences(
    trained: Sequence[Trained], records: Mapping[str, Method]
) -> Iterator[Difference]:
    if not same_validation(trained):
        return
    for figure in ("validation", "robust_validation") if same_probe(trained) else ("validation",):
        for number, name in enumerate(POINTS):
            values = {label: method.points[number].values[figure] for label, method in records.items()}
            yield from differences(figure, name, values)
