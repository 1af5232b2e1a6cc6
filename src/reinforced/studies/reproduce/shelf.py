"""Which run directory is a row's: one that holds its very recipe, whatever its folder is called."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.paper import Row, Size
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe
from reinforced.training.run import RunDirectory

FOLDER = "reproduce"
"""In the folder of runs, where new ones go."""
_BESIDE = {"name", "source", "size", "schema_version", "published"}


def overrides_of(row: Row, size_name: str, size: Size) -> dict[str, Any]:
    """All that a row changes of its recipe, but for the seed."""
    return {**size.overrides, **row.overrides, **row.sizes.get(size_name, {})}


def training_command(row: Row, size_name: str, size: Size) -> str:
    """What trains a row by hand, but for seed and run directory."""
    words = [
        f"{key}={value if isinstance(value, str) else json.dumps(value)}"
        for key, value in overrides_of(row, size_name, size).items()
    ]
    which = [] if size.recipe == "full" else ["--size", size.recipe]
    line = shlex.join(["reinforced", "train", row.recipe, *which, *words])
    return f"{line} --seed SEED --run RUN"


def recipe_of(row: Row, size_name: str, size: Size, seed: int) -> Recipe:
    """A row's resolved recipe."""
    given = {**overrides_of(row, size_name, size), "seed": seed}
    # JSON is YAML, and YAML is what an override's value is read as.
    overrides = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    try:
        return load_recipe(row.recipe, size=size.recipe, overrides=overrides)
    except ReinforcedError as error:
        raise ReinforcedError(f"row {row.label}: {error}") from None


class Shelf:
    """The runs below a folder, by what they trained."""

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._known: dict[str, list[Path]] = {}
        for path in _directories(runs):
            try:
                recipe = RunDirectory(path).recipe
            except ReinforcedError:
                continue  # a run of an older version or a damaged one; it is nobody's here
            self._known.setdefault(_identity(recipe), []).append(path)

    def find(self, recipe: Recipe, label: str) -> Path:
        """The run of a recipe: of several the finished, then the furthest one; else where it will go."""
        found = self._known.get(_identity(recipe), [])
        if found:
            return max(found, key=lambda path: _progress(RunDirectory(path)))
        slug = re.sub(r"[^a-z0-9]+", "-", label.lower()).strip("-")
        short = hashlib.sha256(_identity(recipe).encode()).hexdigest()[:8]
        return self._runs / FOLDER / f"{slug}-{recipe.size}-{short}-seed{recipe.seed}"


def _identity(recipe: Recipe) -> str:
    values: Mapping[str, Any] = recipe.model_dump(mode="json", exclude=_BESIDE)
    return json.dumps(values, sort_keys=True)


def _progress(run: RunDirectory) -> tuple[bool, int]:
    return run.summary() is not None, len(run.metrics())


def _directories(runs: Path) -> Iterator[Path]:
    for folder, inside, files in os.walk(runs):
        inside.sort()
        if "recipe.yaml" in files:
            inside.clear()  # a control within a run is the run's own
            yield Path(folder)
