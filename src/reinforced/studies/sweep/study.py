"""The study file: which runs a sweep makes, and what is done with each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml
from omegaconf import OmegaConf
from pydantic import Field, ValidationError, field_validator, model_validator

from reinforced.attacks.threat import ThreatModel
from reinforced.component import Component, setting
from reinforced.diagnostics.case import Budget
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.evaluation.job import folder_name
from reinforced.evaluation.suites import Chosen, choose_attacks
from reinforced.studies.evaluations import threats
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import explain, load_recipe, read_yaml
from reinforced.training.run import RunDirectory

SCHEMA = 1
LONGEST = 100
"""Characters of an entry's name; a longer one is cut and told apart by a hash."""

_YAML = (".yaml", ".yml")
Overrides = Mapping[str, Any]


class Grid(Component):
    """Every recipe with every combination of values."""

    recipes: tuple[str, ...] = setting(..., "names, or YAML files beside the study file", min_length=1)
    overrides: dict[str, tuple[Any, ...]] = setting({}, "key.path to the values it takes")

    @field_validator("overrides")
    @classmethod
    def _not_empty(cls, axes: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        empty = next((key for key, values in axes.items() if not values), None)
        if empty is not None:
            raise ValueError(f"{empty} takes no value; list at least one")
        return axes


class Listed(Component):
    """One recipe with its own overrides."""

    recipe: str = setting(..., "name, or a YAML file beside the study file")
    overrides: dict[str, Any] = setting({}, "key.path to value")
    seeds: tuple[int, ...] | None = setting(None, "in place of the study's", min_length=1)


class Evaluate(Component):
    """What every run is attacked with."""

    threats: tuple[str, ...] = setting(("standard",), "linf:8/255, digits, ...", min_length=1)
    attacks: tuple[str, ...] = setting(("standard",), "suites or attacks with options", min_length=1)
    images: int | None = setting(None, "the first so many test images; all if left out", unit="images", ge=1)
    run_all: bool = setting(False, "all attacks on all images, broken or not")
    seed: int = setting(0, "of every draw", ge=0)

    @model_validator(mode="after")
    def _readable(self) -> Evaluate:
        try:
            for budget in self.budgets():
                self.chosen(budget)
        except ReinforcedError as error:
            raise ValueError(str(error)) from None
        return self

    def budgets(self) -> list[ThreatModel]:
        """The threats, a named budget's one by one."""
        return threats(self.threats)

    def chosen(self, budget: ThreatModel) -> Chosen:
        """The attacks that run under a threat."""
        return choose_attacks(self.attacks, budget)


class Diagnose(Component):
    """The claim that every run is judged by."""

    claim: str = setting(..., "ATTACK@THREAT, as in pgd@l2:1.0")
    budget: Budget = setting("standard", "what the judge may spend")
    images: int | None = setting(None, "the first so many test images; all if left out", unit="images", ge=1)
    seed: int = setting(0, "of every draw", ge=0)

    @field_validator("claim")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            return str(Claim.parse(value))
        except ReinforcedError as error:
            raise ValueError(str(error)) from None


class Resources(Component):
    """What one entry gets."""

    cpus: int | None = setting(None, "cores and threads; divided if left out", ge=1)
    gpus: float | None = setting(None, "share of a GPU; 1 if there are any", ge=0, le=1)


class Study(Component):
    """A sweep; the same file runs here and on a cluster."""

    schema_version: Literal[1] = Field(1, alias="schema", description="version of this format")
    name: str = setting("", "what the sweep is called; the file's name if left out")
    size: str = setting("full", "which of the recipes' sizes")
    overrides: dict[str, Any] = setting({}, "key.path to value, of every entry; an entry's own win")
    seeds: tuple[int, ...] = setting((0,), "each entry is run with each", min_length=1)
    grid: Grid | None = setting(None, "recipes x values")
    entries: tuple[Listed, ...] = setting((), "recipes one by one, after the grid")
    checkpoint: Literal["last", "best"] = setting("last", "which weights are evaluated and diagnosed")
    evaluate: Evaluate | None = setting(None, "no evaluation if left out")
    diagnose: Diagnose | None = setting(None, "no diagnosis if left out")
    resources: Resources = setting(Resources(), "what one entry gets")
    retries: int = setting(1, "times that a failed entry is tried again", ge=0)

    @model_validator(mode="after")
    def _something_to_do(self) -> Study:
        if self.grid is None and not self.entries:
            raise ValueError("no runs: give a grid, or entries")
        return self


@dataclass(frozen=True)
class Entry:
    """One run of a study.

    Attributes:
        name: of its run directory.
        label: the recipe's name as the study has it.
        overrides: those that tell it from the others of its recipe.
        recipe: resolved.
        run: the run directory.
    """

    name: str
    label: str
    overrides: Overrides
    recipe: Recipe
    run: Path


def load_study(path: Path) -> Study:
    """A validated study file.

    Raises:
        ReinforcedError: no such file, broken YAML, an unknown field or a value that cannot be used.
    """
    if not path.is_file():
        raise ReinforcedError(f"no study file {path}")
    values: Any = OmegaConf.to_container(read_yaml(path, "study"))
    version = values.get("schema", SCHEMA)
    if isinstance(version, int) and version > SCHEMA:
        raise ReinforcedError(
            f"{path}: written for study schema {version}, this version reads up to {SCHEMA};"
            " upgrade reinforced"
        )
    try:
        study = Study.model_validate(values)
    except ValidationError as error:
        raise ReinforcedError(f"{path}: {explain(error, Study)}") from None
    return study if study.name else study.model_copy(update={"name": path.stem})


def study_yaml(study: Study) -> str:
    """A study as YAML that :func:`load_study` reads back to an equal one."""
    values = study.model_dump(mode="json", by_alias=True)
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)


def entries_of(study: Study, beside: Path, folder: Path) -> list[Entry]:
    """A study's runs in order: the grid's, seeds fastest, then those listed.

    Args:
        study: what to run.
        beside: folder that recipe files are relative to.
        folder: of the sweep; run directories lie in its ``runs``.

    Raises:
        ReinforcedError: an unknown recipe or override, or the same run twice.
    """
    found: dict[str, Entry] = {}
    for label, overrides, seed in _combinations(study):
        if "seed" in {**study.overrides, **overrides}:
            raise ReinforcedError(f"study {study.name}: override seed: give `seeds` in its place")
        given = {**study.overrides, **overrides, "seed": seed}
        recipe = load_recipe(
            str(beside / label) if label.endswith(_YAML) else label,
            size=study.size,
            # JSON is YAML, and YAML is what an override's value is read as.
            overrides=[f"{key}={json.dumps(value)}" for key, value in given.items()],
        )
        name = _name(label, overrides, seed)
        if name in found:
            raise ReinforcedError(f"study {study.name}: {name} is in it twice; leave one out")
        found[name] = Entry(name, label, overrides, recipe, folder / "runs" / name)
    return list(found.values())


def _combinations(study: Study) -> Iterator[tuple[str, Overrides, int]]:
    if study.grid is not None:
        axes = study.grid.overrides
        for label, *values, seed in product(study.grid.recipes, *axes.values(), study.seeds):
            yield str(label), dict(zip(axes, values, strict=True)), int(str(seed))
    for listed in study.entries:
        for seed in listed.seeds or study.seeds:
            yield listed.recipe, listed.overrides, seed


def _name(label: str, overrides: Overrides, seed: int) -> str:
    """``quickstart-rl-optimizer.lr-0.001-seed0``, with a hash where that does not say everything."""
    file = Path(label) if label.endswith(_YAML) else None
    texts = [file.stem if file else label, *(f"{key}-{_text(value)}" for key, value in overrides.items())]
    name = folder_name("-".join(texts))
    plain = all(re.fullmatch(r"[\w./-]+", text) and "--" not in text for text in texts)
    plain = plain and (file is None or file.name == label)
    if not plain or len(name) > LONGEST:
        sha256 = hashlib.sha256(json.dumps([label, overrides], sort_keys=True).encode()).hexdigest()
        name = f"{name[:LONGEST].rstrip('-')}-{sha256[:8]}"
    return f"{name}-seed{seed}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def short(overrides: Overrides) -> str:
    """Overrides as on the command line."""
    return " ".join(f"{key}={_text(value)}" for key, value in overrides.items())


def check_runs(entries: Sequence[Entry]) -> None:
    """Refuse run directories that hold other recipes, before anything is done.

    Raises:
        ReinforcedError: one does, or is damaged.
    """
    for entry in entries:
        differing = RunDirectory(entry.run).other(entry.recipe)
        if differing:
            raise ReinforcedError(
                f"{entry.run} holds a run of another recipe ({differing}); choose another --out"
            )
