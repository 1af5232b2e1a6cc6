"""What a folder of runs looks like right now, as plain values for the live page."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import yaml

from reinforced.errors import ReinforcedError
from reinforced.report.folder import find_runs
from reinforced.report.palette import token, variant
from reinforced.report.reading import YAML_ERRORS, mapping, number, text
from reinforced.report.tail import Tail, is_inside, read_inside
from reinforced.training.methods import identity, settings

FRESH = 1.0
"""Seconds for which a look at the folder is good enough."""
MOST = 2000
"""Rows sent at a time."""
REPORT = "report.html"


class LiveFolder:
    """A folder of runs, read again at most once a second however many look at it.

    A run is found by its name among those that are there; no part of a request ever becomes a path.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder.resolve()
        self._lock = threading.Lock()
        self._looked = 0.0
        self._runs: dict[str, _LiveRun] = {}

    def overview(self) -> list[dict[str, Any]]:
        """Each run's name, state and progress, by name."""
        with self._lock:
            self._look()
            slots: dict[str, int] = {}
            found = []
            for name, run in self._runs.items():
                slot = slots.setdefault(run.method, len(slots))
                colour = {"colour": token(slot), "variant": variant(slot)}
                found.append({"name": name, **colour, **run.values()})
            return found

    def rows(self, name: str, start: str, after: int) -> dict[str, Any] | None:
        """A run's rows ``after`` so many, at most :data:`MOST`; all of them if its first is not ``start``.

        ``None`` for a run that is not there.
        """
        with self._lock:
            self._look()
            run = self._runs.get(name)
            if run is None:
                return None
            skip = after if start == run.tail.first else 0
            return {"start": run.tail.first, "after": skip, "rows": run.tail.rows[skip : skip + MOST]}

    @property
    def has_report(self) -> bool:
        """Whether there is a report on the folder itself."""
        return is_inside(self.root, self.root / REPORT)

    def report(self, name: str | None) -> bytes | None:
        """The page that ``reinforced report`` wrote into a run, or into the folder itself for no name."""
        with self._lock:
            self._look()
            run = self._runs.get(name) if name is not None else None
        if name is not None and run is None:
            return None
        return read_inside(self.root, (run.path if run else self.root) / REPORT)

    def _look(self) -> None:
        if time.monotonic() - self._looked < FRESH:
            return
        try:
            paths = find_runs(self.root)
        except ReinforcedError:  # all runs were moved away: the page says so and goes on looking
            paths = []
        names = {
            self.root.name if path == self.root else path.relative_to(self.root).as_posix(): path
            for path in paths
        }
        self._runs = {name: self._runs.get(name) or _LiveRun(self.root, path) for name, path in names.items()}
        for run in self._runs.values():
            run.look()
        self._looked = time.monotonic()


class _LiveRun:
    """One run as last seen."""

    def __init__(self, root: Path, path: Path) -> None:
        self._root, self.path = root, path
        self.tail = Tail(root, path / "metrics.jsonl")
        self._recipe: dict[str, Any] = {}
        self._finished: bool | None = None
        self._report = False
        self.method = str(path)

    def look(self) -> None:
        """Read what changes; the recipe of a run does not."""
        self.tail.look()
        if not self._recipe:
            self._recipe = _parsed(read_inside(self._root, self.path / "recipe.yaml"))
            self.method = identity("", settings(self._recipe)) if self._recipe else str(self.path)
        summary = read_inside(self._root, self.path / "summary.json")
        self._finished = None if summary is None else _stopped_early(summary)
        self._report = is_inside(self._root, self.path / REPORT)

    def values(self) -> dict[str, Any]:
        """For the overview."""
        states = {None: "unfinished", True: "stopped early", False: "finished"}
        return {
            "recipe": text(self._recipe, "name"),
            "state": states[self._finished],
            "epochs": len(self.tail.rows),
            "planned": _planned(self._recipe),
            "start": self.tail.first,
            "changed": self.tail.changed,
            "damaged": self.tail.damaged,
            "report": self._report,
        }


def _parsed(recipe: bytes | None) -> dict[str, Any]:
    try:
        values = yaml.safe_load(recipe or b"")
    except YAML_ERRORS:
        values = None
    return values if isinstance(values, dict) else {}


def _stopped_early(summary: bytes) -> bool:
    try:
        return bool(mapping({"summary": json.loads(summary)}, "summary").get("stopped_early"))
    except (ValueError, RecursionError):
        return False


def _planned(recipe: dict[str, Any]) -> int | None:
    """Epochs of all phases; ``None`` where a budget or something unreadable decides."""
    phases = recipe.get("phases")
    if recipe.get("budget") is not None or not isinstance(phases, list):
        return None
    lengths = [number(phase, "epochs") if isinstance(phase, dict) else math.nan for phase in phases]
    total = sum(lengths)
    return int(total) if math.isfinite(total) else None
