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
    """A recipe's name and, among methods of one name, the settings that differ: ``objective=ppo``.

    A component's own settings are compared with those of its kind alone.
    """
    found = []
    for one in firsts:
        same = [other.settings for other in firsts if other.recipe == one.recipe]
        told = [
            f"{_brief(key, same)}={_plain(value)}"
            for key, value in one.settings.items()
            if any(other.get(key, _NONE) != value for other in same if _alike(key, one.settings, other))
        ]
        more = [f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else []
        found.append(" ".join([one.recipe, *told[:SHOWN], *more]))
    return [
        label if found.count(label) == 1 else f"{label} ({one.run})"
        for label, one in zip(found, firsts, strict=True)
    ]


def _alike(key: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether both have components of one kind wherever the key lies within."""
    parts = key.split(".")
    kinds = [".".join([*parts[:depth], "kind"]) for depth in range(1, len(parts))]
    return all(kind == key or one.get(kind, _NONE) == other.get(kind, _NONE) for kind in kinds)


def _brief(key: str, same: Sequence[Mapping[str, Any]]) -> str:
    """Without the phase where there is but one, and without ``kind``."""
    one_phase = not any(name.startswith("phases.1.") for values in same for name in values)
    return (key.removeprefix("phases.0.") if one_phase else key).removesuffix(".kind")


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
