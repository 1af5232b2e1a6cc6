"""Which trained runs are seeds of one method."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.studies.trained import Trained
from reinforced.training.methods import Called, identity, labels
from reinforced.training.methods import settings as settings_of


def group(runs: Sequence[Trained]) -> dict[str, list[Trained]]:
    """Label to runs by rising seed; the methods in the order given.

    Runs are of one method if they saw the same data and their resolved recipes are equal but for
    :data:`~reinforced.training.methods.BESIDE`. An imported policy is a method of its own: its recipe does
    not say how it was trained.

    Raises:
        ReinforcedError: two runs of one method have the same seed.
    """
    groups: dict[str, list[Trained]] = {}
    for run in runs:
        same = identity(run.data_sha256, settings(run)) if run.rows else str(run.path)
        groups.setdefault(same, []).append(run)
    for members in groups.values():
        members.sort(key=lambda run: run.recipe.seed)
        for one, other in pairwise(members):
            if one.recipe.seed == other.recipe.seed:
                raise ReinforcedError(
                    f"{one.path} and {other.path} are the same recipe with the same seed "
                    f"{one.recipe.seed}: no second sample of it; leave one out"
                )
    firsts = [members[0] for members in groups.values()]
    names = labels([Called(run.name, run.recipe.name, settings(run)) for run in firsts])
    return dict(zip(names, groups.values(), strict=True))


def settings(run: Trained) -> dict[str, Any]:
    """A run's settings as ``phases.0.objective.kind`` to value."""
    return settings_of(run.recipe.model_dump(mode="json", by_alias=True))
