"""Every shipped recipe: it loads in every size, says where it comes from, and holds its source's settings."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from reinforced.models import names
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe, recipe_names, recipe_yaml
from tests.training.recipe_library import DATA_SETS, EVERY, LIBRARY, rate

TRAINING_IMAGES = {  # of a `cpu` size, validation images included
    "npz:cifar10-lossless-6k.npz": 5_085,
    "synthetic:100x32": 2_000,
    "synthetic:100x64": 2_000,
    "cifar10": 50_000,
}
MOST_PASSES = 2_500_000  # of a `cpu` size, at 32 px: a quarter of an hour on two cores


class Paper(NamedTuple):
    """What a recipe's source states; kinds of several phases in their order."""

    lr: float
    epochs: int
    batch: int
    objective: str
    optimizer: str
    network: str
    clip: float | None = None
    adversary: str = "none"
    regulariser: str = ""


def baseline(lr: float, epochs: int, adversary: str = "none", regulariser: str = "") -> Paper:
    network = "preact_resnet18"
    return Paper(lr, epochs, 128, "cross_entropy", "sgd", network, None, adversary, regulariser)


def zou(lr: float, epochs: int, objective: str, clip: float | None = None, adversary: str = "none") -> Paper:
    return Paper(lr, epochs, 256, objective, "adamw", "cnn6", clip, adversary)


ZOU = {
    "sl": zou(2e-4, 100, "cross_entropy", 1),
    "sl-adv": zou(2e-4, 100, "cross_entropy", 1, "none fgsm"),
    "sl-adv-corrected": zou(2e-4, 600, "cross_entropy", 1, "none fgsm"),
    "sl-adv-trades": zou(2e-4, 100, "cross_entropy", 1, "trades"),
    "rl": zou(1e-4, 600, "reinforce"),
    "rl-adv": zou(1e-4, 600, "reinforce", None, "none fgsm"),
    "rl-adv-corrected": zou(2e-4, 600, "reinforce", 1, "none fgsm"),
    "rl-adv-trades": zou(2e-4, 100, "reinforce", 1, "trades"),
    "rl-expected": zou(1e-4, 600, "expected_pg"),
    "rl-expected-adv-trades": zou(2e-4, 100, "expected_pg", 1, "trades"),
}
PAPERS = {
    **{f"zou2026/{data}-{kind}": paper for data in DATA_SETS for kind, paper in ZOU.items()},
    "hybrid/sl-to-rl": zou(2e-4, 100, "cross_entropy reinforce", 1),
    "hybrid/rl-to-sl": zou(2e-4, 100, "reinforce cross_entropy", 1),
    "hybrid/sl-adv-to-rl-adv": zou(2e-4, 100, "cross_entropy reinforce", 1, "trades"),
    "hybrid/interpolation": zou(2e-4, 100, "interpolation", 1),
    "hybrid/fine-tune": zou(1e-4, 20, "reinforce", 1),
    "baselines/fast-at": baseline(0.2, 30, "fast"),
    "baselines/pgd-at": baseline(0.1, 200, "pgd"),
    "baselines/pgd-at+gradient-penalty": baseline(0.1, 200, "pgd", "input_gradient"),
    "baselines/trades": baseline(0.1, 100, "trades"),
    "baselines/mart": baseline(0.01, 120, "mart"),
    "baselines/awp": baseline(0.1, 200, "awp"),
    "baselines/gradient-penalty": baseline(0.1, 200, "none", "input_gradient"),
    "baselines/spectral-penalty": baseline(0.1, 200, "none", "spectral_penalty"),
    "baselines/spectral-norm": baseline(0.1, 200, "none", "spectral_norm"),
    "aerl-readme/sl": Paper(2e-4, 100, 256, "cross_entropy", "adamw", "cnn6", 1, "none fgsm"),
    "aerl-readme/rl": Paper(1e-3, 100, 32, "reinforce", "adamw", "cnn6", None, "none fgsm"),
    "gupta2020/cifar10-ce-clean": Paper(1e-4, 220, 32, "cross_entropy", "rmsprop", "keras_cnn"),
    "gupta2020/cifar10-rl-clean": Paper(1e-4, 220, 32, "reinforce", "rmsprop", "keras_cnn"),
    "gupta2020/cifar10-ce-fgsm": Paper(
        1e-4, 220, 32, "cross_entropy", "rmsprop", "keras_cnn", adversary="fgsm"
    ),
    "gupta2020/cifar10-rl-fgsm": Paper(1e-4, 220, 32, "reinforce", "rmsprop", "keras_cnn", adversary="fgsm"),
}

every_size = pytest.mark.parametrize(("name", "size"), EVERY)
every_library = pytest.mark.parametrize("name", LIBRARY)


@every_size
def test_loads_and_names_its_source(name: str, size: str) -> None:
    recipe = load_recipe(name, size=size)
    assert (recipe.name, recipe.size) == (name, size)
    assert len(recipe.source) > 40
    assert recipe.model.name in names() or recipe.model.name.startswith("timm:")


@every_size
def test_survives_being_written_and_read(name: str, size: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, size=size)
    file = tmp_path / "copy.yaml"
    file.write_text(recipe_yaml(recipe), encoding="utf-8")
    assert load_recipe(str(file)).model_copy(update={"size": size}) == recipe


@every_library
def test_the_cpu_size_takes_minutes(name: str) -> None:
    recipe = load_recipe(name, size="cpu")
    held = TRAINING_IMAGES[recipe.data.source]
    images = min(held, recipe.data.limit or held) * (1 - recipe.data.validation)
    pixels = 4 if recipe.data.source.endswith("x64") else 1
    total = sum(phase.epochs * phase.passes.total for phase in recipe.phases) * images * pixels
    assert total <= MOST_PASSES
    assert recipe.model.name == "cnn6_small"
    assert len(recipe.phases) == len(load_recipe(name).phases)


@every_library
def test_the_cpu_size_changes_only_scale(name: str) -> None:
    full, small = load_recipe(name), load_recipe(name, size="cpu")
    assert small.data.augment == full.data.augment
    assert small.model.normalize == full.model.normalize
    assert small.gradient_clip == full.gradient_clip
    for before, after in zip(full.phases, small.phases, strict=True):
        assert (after.objective, after.adversary) == (before.objective, before.adversary)
        assert after.regularisers == before.regularisers
    assert (small.probe is None) == (full.probe is None)
    if small.probe is not None and full.probe is not None:
        assert (small.probe.threat, small.probe.select) == (full.probe.threat, full.probe.select)


def test_every_paper_is_in_the_table() -> None:
    assert set(PAPERS) == set(LIBRARY)


@pytest.mark.parametrize("name", PAPERS)
def test_settings_are_the_source_s(name: str) -> None:
    recipe, paper = load_recipe(name), PAPERS[name]
    network = "timm:resnet18" if "imagenet100" in name else paper.network
    assert recipe.optimizer.lr == paper.lr
    assert recipe.optimizer.kind == paper.optimizer
    assert recipe.epochs == paper.epochs
    assert recipe.batch_size == paper.batch
    assert recipe.model.name == network
    assert recipe.gradient_clip == paper.clip
    for kinds, expected in (
        ([phase.objective.kind for phase in recipe.phases], paper.objective),
        ([phase.adversary.kind for phase in recipe.phases], paper.adversary),
        ([one.kind for phase in recipe.phases for one in phase.regularisers], paper.regulariser),
    ):
        assert " ".join(dict.fromkeys(kinds)) == expected
    assert recipe.data.validation == (0.02 if name.startswith("baselines/") else 0.1)


@pytest.mark.parametrize(
    "name", [name for name in LIBRARY if name.split("/")[0] not in ("gupta2020", "baselines")]
)
def test_images_are_varied_and_normalised_as_in_the_released_code(name: str) -> None:
    recipe = load_recipe(name)
    augment = recipe.data.augment
    assert (augment.horizontal_flip, augment.vertical_flip, augment.translate) == (True, True, 0.1)
    assert (augment.crop, augment.cutout) == (0, 0)
    source = recipe.data.source
    assert recipe.model.normalize == ("imagenet" if source == "imagenet100" else source)
    assert recipe.data.size == (224 if source == "imagenet100" else None)


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_rates_join(name: str, size: str) -> None:
    """Where a schedule goes on across a border, the rate falls as it does from one update to the next."""
    recipe, steps = load_recipe(name, size=size), 71
    for index in range(len(recipe.phases) - 1):
        end = recipe.phases[index].epochs * steps
        before, last = (rate(recipe, index, step, steps) for step in (end - 2, end - 1))
        assert -1e-10 <= last - rate(recipe, index + 1, 0, steps) <= 1.001 * (before - last)


@every_library
def test_the_file_reads_top_down(name: str) -> None:
    """A person copies these files: fields in the schema's order, sizes last."""
    folder = Path(__file__).parents[2] / "src" / "reinforced" / "recipes"
    keys = list(yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")))
    order = [field.alias or key for key, field in Recipe.model_fields.items()]
    assert keys[-1] == "sizes"
    assert keys[:-1] == [key for key in order if key in keys]


def test_the_page_lists_every_recipe_with_its_cost() -> None:
    page = Path(__file__).parents[2] / "docs" / "recipes-list.md"
    listed: dict[str, str] = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if cells and re.fullmatch(r"`[a-z0-9]+[-/].*`", cells[0]):
            listed |= dict.fromkeys(spelled_out(cells[0].strip("`")), cells[-1])
    assert listed == {name: cost(load_recipe(name)) for name in recipe_names()}


def spelled_out(name: str) -> list[str]:
    """``a-{b,c}`` as ``a-b`` and ``a-c``."""
    before, brace, rest = name.partition("{")
    if not brace:
        return [name]
    choices, _, after = rest.partition("}")
    return [before + choice + end for choice in choices.split(",") for end in spelled_out(after)]


def cost(recipe: Recipe) -> str:
    """Passes an image, epochs times what each takes, ``3 x 400 + 7 x 200``; phases of one cost together."""
    pieces = itertools.groupby(recipe.phases, key=lambda phase: phase.passes.total)
    return " + ".join(f"{passes:g} x {sum(phase.epochs for phase in phases)}" for passes, phases in pieces)
