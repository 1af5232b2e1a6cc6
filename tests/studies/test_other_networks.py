"""The commands and costs that docs/reproduce.md gives for the papers' other networks."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

from reinforced.models import build
from reinforced.studies.reproduce.paper import load_paper
from reinforced.studies.reproduce.shelf import recipe_of
from reinforced.training.flops import CountFlops
from reinforced.training.plan import plan
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe

PAGE = Path(__file__).parents[2] / "docs" / "reproduce.md"
SECTION = PAGE.read_text().partition("## The papers' other networks\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^reinforced train .*$", SECTION, re.MULTILINE)
COSTS = re.findall(r"^\| `(\S+)` \| (\S+) \| (\S+) \| (\S+) \|$", SECTION, re.MULTILINE)
IMAGES = 45_000  # of CIFAR-10's, a tenth held out


def recipe_of_command(line: str) -> Recipe:
    _, _, name, *overrides = shlex.split(line)
    return load_recipe(name, overrides=overrides)


def test_every_other_network_has_its_command_and_its_cost() -> None:
    networks = {recipe_of_command(line).model.name for line in COMMANDS}
    assert networks == {"alicnn", "timm:resnet18", "timm:resnet50", "timm:densenet121"}
    assert {name for name, *_ in COSTS} == {"cnn6", *networks}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_the_full_recipe_with_another_network(line: str) -> None:
    recipe, own = recipe_of_command(line), load_recipe(shlex.split(line)[2])
    hidden = {"model", "data"}
    assert recipe.model_dump(exclude=hidden) == own.model_dump(exclude=hidden)
    assert recipe.data.size == (224 if recipe.model.name.startswith("timm:") else None)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_row_of_the_study_takes_the_network(line: str) -> None:
    paper = load_paper("zou2026")
    changed = dict(word.split("=") for word in shlex.split(line)[3:])
    size = paper.sizes["full"].model_copy(update={"overrides": changed})
    for row in paper.rows:
        recipe = recipe_of(row, "full", size, 0)
        assert recipe.model.name == changed["model.name"]
        assert recipe.data.size == (int(changed["data.size"]) if "data.size" in changed else None)


@pytest.mark.parametrize(("name", "macs", "rl", "sl"), COSTS)
def test_the_costs_are_what_is_counted(name: str, macs: str, rl: str, sl: str) -> None:
    side = 224 if name.startswith("timm:") else 32
    model = build(name, shape=(3, side, side), classes=10).eval()
    with torch.no_grad(), CountFlops() as counted:
        model(torch.zeros(1, 3, side, side))
    assert f"{counted.total / 2e9:.3f}" == macs
    for method, said in (("rl", rl), ("sl", sl)):
        recipe = load_recipe(f"zou2026/cifar10-{method}")
        passes = sum(
            one.steps * recipe.batch_size * one.phase.passes.total for one in plan(recipe, IMAGES).stretches
        )
        assert f"{passes * counted.total / 1e18:.3f}" == said
