"""Which resolved recipes are one method, and what methods are called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

# What decides nothing of the weights; the seed is what may differ.
BESIDE = ("seed", "name", "source", "size", "keep_every", "schema", "published")
SHOWN = 4  # differing settings that a label names at most


class Called(NamedTuple):
    """A run as methods know it: its own name, its recipe's, and its :func:`settings`."""

    run: str
    recipe: str
    settings: Mapping[str, Any]


def settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A resolved recipe's settings as ``phases.0.objective.kind`` to value, less :data:`BESIDE`."""
    return dict(_flat({key: value for key, value in recipe.items() if key not in BESIDE}))


def identity(data_sha256: str, own: Mapping[str, Any]) -> str:
    """Equal for runs that saw the same data with equal settings."""
    return json.dumps([data_sha256, own], sort_keys=True, default=str)


def labels(firsts: Sequence[Called]) -> list[str]:
    """A recipe's name and, among methods of one name, the settings that differ."""
    found = []
    for one in firsts:
        same = [other.settings for other in firsts if other.recipe == one.recipe]
        keys = dict.fromkeys(key for values in same for key in values)
        differing = [
            key
            for key in keys
            if any(values.get(key, _NONE) != one.settings.get(key, _NONE) for values in same)
        ]
        told = [f"{key}={_plain(one.settings[key])}" for key in differing if key in one.settings]
        more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
        found.append(" ".join([one.recipe, *told[:SHOWN], *more]))
    return [
        label if found.count(label) == 1 else f"{label} ({one.run})"
        for label, one in zip(found, firsts, strict=True)
    ]


_NONE = object()


def _flat(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _flat(inner, f"{where}.{key}" if where else str(key))
    else:
        yield where, value


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)
