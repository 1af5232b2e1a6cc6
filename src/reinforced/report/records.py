"""What run directories say, as plain values: nothing here raises for a file that is missing or damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.report.evaluations import (
    CurveRecord,
    EvaluationRecord,
    TransferRecord,
    read_curves,
    read_evaluations,
    read_transfers,
)
from reinforced.report.mechanisms import (
    IndicatorRecord,
    LandscapeRecord,
    read_indicators,
    read_landscapes,
)
from reinforced.report.reading import Reader, mapping, number, text
from reinforced.report.verdicts import VerdictRecord, read_verdicts
from reinforced.training.methods import Called, identity, labels, settings


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run.

    Attributes:
        path: its directory; ``name`` is how the report calls it, unique in it.
        method: label of all runs that differ from this one in nothing but their seed.
        slot: the method's number, which is its colour everywhere.
        recipe: as resolved; empty if unknown.
        seed: ``None`` if unknown.
        environment, summary: as recorded; empty if missing.
        epochs: rows of ``metrics.jsonl``.
        verdicts: the run's own first.
        gaps: what is missing or damaged, a line each.
    """

    path: Path
    name: str
    method: str
    slot: int
    recipe: Mapping[str, Any]
    seed: int | None
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    evaluations: tuple[EvaluationRecord, ...]
    curves: tuple[CurveRecord, ...]
    transfers: tuple[TransferRecord, ...]
    verdicts: tuple[VerdictRecord, ...]
    indicators: tuple[IndicatorRecord, ...]
    landscapes: tuple[LandscapeRecord, ...]
    gaps: tuple[str, ...]

    def column(self, name: str) -> tuple[float, ...]:
        """A figure of every epoch; not-a-number where it was not recorded."""
        return tuple(number(row, name) for row in self.epochs)


@dataclass(frozen=True)
class _Read:
    path: Path
    reader: Reader
    recipe: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]
    epochs: tuple[Mapping[str, Any], ...]
    identity: str


def read_runs(paths: Sequence[Path]) -> tuple[RunRecord, ...]:
    """Read run directories, in the order given; each once.

    Raises:
        ReinforcedError: a path that is no run directory.
    """
    known = {path.resolve(): path for path in paths}
    found = [_read(path) for path in known.values()]
    names = _names([one.path for one in found])
    firsts: dict[str, int] = {}
    for index, one in enumerate(found):
        firsts.setdefault(one.identity, index)
    called = [
        Called(names[index], text(found[index].recipe, "name", names[index]), settings(found[index].recipe))
        for index in firsts.values()
    ]
    methods = dict(zip(firsts, labels(called), strict=True))
    slots = {same: slot for slot, same in enumerate(firsts)}
    return tuple(
        _record(one, name, methods[one.identity], slots[one.identity])
        for one, name in zip(found, names, strict=True)
    )


def _read(path: Path) -> _Read:
    if not path.is_dir():
        raise ReinforcedError(f"no folder {path}; `reinforced runs FOLDER` lists a folder's runs")
    recorded = ("recipe.yaml", "metrics.jsonl", "summary.json", "evaluations", "diagnostics", "verdict.json")
    if not any((path / name).exists() for name in recorded):
        inside = any(path.glob("*/recipe.yaml"))
        hint = f"it is a folder of runs; name the runs in it: {path}/*" if inside else "it has no recipe.yaml"
        raise ReinforcedError(f"{path} is no run directory: {hint}")
    reader = Reader(path)
    recipe, environment = (
        reader.yaml(path / "recipe.yaml"),
        reader.json(path / "environment.json", needed=True),
    )
    epochs, summary = (
        tuple(reader.lines(path / "metrics.jsonl")),
        reader.json(path / "summary.json", needed=True),
    )
    if len(epochs) < number(summary, "epochs"):
        reader.missing(path / "metrics.jsonl", f"has {len(epochs)} of {summary['epochs']} epochs")
    began_with = text(environment, "recipe_sha256")
    if recipe and began_with not in ("", hashlib.sha256((path / "recipe.yaml").read_bytes()).hexdigest()):
        reader.missing(path / "recipe.yaml", "changed since the run began")
    same = identity(text(environment, "data_sha256"), settings(recipe)) if recipe and epochs else str(path)
    return _Read(path, reader, recipe, environment, summary, epochs, same)


def _record(one: _Read, name: str, method: str, slot: int) -> RunRecord:
    reader, seed = one.reader, one.recipe.get("seed")
    return RunRecord(
        one.path,
        name,
        method,
        slot,
        one.recipe,
        seed if isinstance(seed, int) else None,
        one.environment,
        one.summary,
        one.epochs,
        read_evaluations(reader),
        read_curves(reader),
        read_transfers(reader),
        read_verdicts(reader),
        read_indicators(reader),
        read_landscapes(reader),
        tuple(reader.gaps),
    )


def _names(paths: Sequence[Path]) -> list[str]:
    own = [path.resolve().name for path in paths]
    return [name if own.count(name) == 1 else str(path) for name, path in zip(own, paths, strict=True)]


def data_source(run: RunRecord) -> str:
    """The data set's name; empty if unknown."""
    return text(mapping(run.recipe, "data"), "source")
