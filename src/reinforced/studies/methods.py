"""Which runs are seeds of one method, and what methods are called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.studies.trained import Trained

# What decides nothing of the weights; the seed is what may differ.
BESIDE = ("seed", "name", "source", "size", "keep_every")
SHOWN = 4  # differing settings that a label names at most


def group(runs: Sequence[Trained]) -> dict[str, list[Trained]]:
    """Label to runs by rising seed; the methods in the order given.

    Runs are of one method if they saw the same data and their resolved recipes are equal but for
    :data:`BESIDE`. An imported policy is a method of its own: its recipe does not say how it was trained.

    Raises:
        ReinforcedError: two runs of one method have the same seed.
    """
    groups: dict[str, list[Trained]] = {}
    for run in runs:
        groups.setdefault(_identity(run) if run.rows else str(run.path), []).append(run)
    for members in groups.values():
        members.sort(key=lambda run: run.recipe.seed)
        for one, other in pairwise(members):
            if one.recipe.seed == other.recipe.seed:
                raise ReinforcedError(
                    f"{one.path} and {other.path} are the same recipe with the same seed "
                    f"{one.recipe.seed}: no second sample of it; leave one out"
                )
    return dict(zip(_labels([members[0] for members in groups.values()]), groups.values(), strict=True))


def settings(run: Trained) -> dict[str, Any]:
    """A recipe's settings as ``phases.0.objective.kind`` to value, less :data:`BESIDE`."""
    values = run.recipe.model_dump(mode="json", by_alias=True)
    return dict(_flat({key: value for key, value in values.items() if key not in BESIDE}))


def _identity(run: Trained) -> str:
    return json.dumps([run.data_sha256, settings(run)], sort_keys=True)


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _flat(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _labels(firsts: Sequence[Trained]) -> list[str]:
    """A recipe's name and, among methods of one name, the settings that differ."""
    labels = []
    for run in firsts:
        same = [settings(other) for other in firsts if other.recipe.name == run.recipe.name]
        own = settings(run)
        keys = dict.fromkeys(key for values in same for key in values)
        differing = [
            key for key in keys if any(values.get(key, _NONE) != own.get(key, _NONE) for values in same)
        ]
        told = [f"{key}={_plain(own[key])}" for key in differing if key in own]
        more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
        labels.append(" ".join([run.recipe.name, *told[:SHOWN], *more]))
    return [
        label if labels.count(label) == 1 else f"{label} ({run.name})"
        for label, run in zip(labels, firsts, strict=True)
    ]


_NONE = object()


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
