"""What the pages on recipes and runs say, against what there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from reinforced.objectives import AnyObjective
from reinforced.regularisers import AnyRegulariser
from reinforced.training.adversaries import AnyAdversary
from reinforced.training.probe import Probe
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import recipe_names, validate_recipe
from reinforced.training.run import RunDirectory

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]
DOCS = Path(__file__).parents[2] / "docs"
RECIPES = (DOCS / "recipes.md").read_text(encoding="utf-8")


def test_every_column_and_entry_is_documented(make: Make, fit: Fit, tmp_path: Path) -> None:
    phase = {
        "epochs": 1,
        "objective": {"kind": "reinforce"},
        "adversary": {"kind": "trades", "steps": 2, "step": 0.02},
        "regularisers": [{"kind": "jacobian"}],
    }
    probe = {"train_images": 8, "validation_images": 8, "steps": 1, "select": True}
    summary = fit(make(phases=[phase], probe=probe), tmp_path / "run")
    (row,) = RunDirectory(tmp_path / "run").metrics()
    named = set(re.findall(r"`(\w+)`", (DOCS / "runs.md").read_text(encoding="utf-8")))
    assert {*row, *summary, "collapsed", "rolled_back", "collapsed_epochs"} <= named


def kinds(union: object) -> list[str]:
    found = [kind for part in get_args(union) for kind in kinds(part)]
    return found or ([union.model_fields["kind"].default] if hasattr(union, "model_fields") else [])


@pytest.mark.parametrize(
    ("part", "union"),
    [
        ("phases.N.objective", AnyObjective),
        ("phases.N.adversary", AnyAdversary),
        ("phases.N.regularisers", AnyRegulariser),
    ],
)
def test_every_kind_is_listed(part: str, union: object) -> None:
    (row,) = [line for line in RECIPES.splitlines() if line.startswith(f"| `{part}` |")]
    assert set(re.findall(r"`(\w+)`", row)) == set(kinds(union))


def test_every_field_of_the_probe_and_the_recipe_is_mentioned() -> None:
    named = set(re.findall(r"`(\w+)", RECIPES)) | set(re.findall(r"^(\w+):", RECIPES, re.MULTILINE))
    fields = {field.alias or name for name, field in Recipe.model_fields.items()}
    assert fields - {"name", "size"} <= named
    assert set(Probe.model_fields) <= named


def test_the_examples_are_recipes() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", RECIPES, re.DOTALL)]
    whole, *parts = blocks
    whole.pop("sizes")
    assert len(parts) == 1
    validate_recipe(whole, "the first example")
    for part in parts:
        validate_recipe(whole | part, "a later example")


def test_every_shipped_recipe_is_listed() -> None:
    """A row names recipes with alternatives in braces."""
    section = RECIPES.split("## Shipped recipes")[1]
    named = {
        name for text in re.findall(r"^\| `([^`]+)`", section, re.MULTILINE) for name in spelled_out(text)
    }
    assert named == set(recipe_names())


def spelled_out(text: str) -> list[str]:
    found = re.search(r"\{([^}]*)\}", text)
    if found is None:
        return [text]
    before, after = text[: found.start()], text[found.end() :]
    return [name for part in found[1].split(",") for name in spelled_out(before + part + after)]
