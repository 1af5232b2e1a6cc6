"""What methods are called."""

from __future__ import annotations

from typing import Any

from reinforced.training.methods import Called, labels, settings


def called(run: str, objective: dict[str, Any], **more: Any) -> Called:
    recipe = {"phases": [{"epochs": 3, "objective": objective}], "batch_size": 64, **more}
    return Called(run, "a/recipe", settings(recipe))


def test_a_component_is_named_by_its_kind() -> None:
    """Settings that only one kind has follow from the kind."""
    found = labels(
        [called("a", {"kind": "ce", "smoothing": 0.0}), called("b", {"kind": "pg", "reward": 1.0})]
    )
    assert found == ["a/recipe objective=ce", "a/recipe objective=pg"]


def test_settings_of_one_kind_are_told_apart() -> None:
    one = called("a", {"kind": "pg", "reward": 1.0})
    two = called("b", {"kind": "pg", "reward": 0.5}, batch_size=32)
    other = called("c", {"kind": "ce"})
    assert labels([one, two, other]) == [
        "a/recipe objective=pg objective.reward=1.0 batch_size=64",
        "a/recipe objective=pg objective.reward=0.5 batch_size=32",
        "a/recipe objective=ce batch_size=64",
    ]


def test_phases_are_numbered_where_there_are_several() -> None:
    phases = [[{"epochs": 3}, {"epochs": last}] for last in (1, 2)]
    recipes = [Called(str(n), "a/recipe", settings({"phases": each})) for n, each in enumerate(phases)]
    assert labels(recipes) == ["a/recipe phases.1.epochs=1", "a/recipe phases.1.epochs=2"]


def test_alike_runs_are_told_apart_by_name() -> None:
    same = [called(run, {"kind": "ce"}) for run in ("a", "b")]
    assert labels(same) == ["a/recipe (a)", "a/recipe (b)"]
