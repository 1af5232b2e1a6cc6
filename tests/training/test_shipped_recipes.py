"""Every shipped recipe: it loads in every size, says where it comes from, and holds its source's settings."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from reinforced.models import names
from reinforced.objectives import CrossEntropy, ExpectedPG, Reinforce
from reinforced.training.adversaries import FGSM
from reinforced.training.recipe import Phase, Recipe
from reinforced.training.recipes import load_recipe, recipe_names, recipe_yaml
from reinforced.training.schedules import Linear

SMALL = ("quickstart",)  # families that are small enough as they are
LIBRARY = [name for name in recipe_names() if name.split("/")[0] not in SMALL]
EVERY = [
    *((name, "full") for name in recipe_names()),
    *((name, "cpu") for name in LIBRARY),
]
TRAINING_IMAGES = {  # of a `cpu` size, validation images included
    "npz:cifar10-lossless-6k.npz": 5_085,
    "synthetic:100x32": 2_000,
    "synthetic:100x64": 2_000,
}
MOST_PASSES = 1_000_000  # of a `cpu` size, at 32 px: four or five minutes on two cores
DATA_SETS = ("cifar10", "cifar100", "imagenet100")


class Paper(NamedTuple):
    """What a recipe's source states."""

    lr: float
    epochs: int
    batch: int
    objective: str
    optimizer: str
    network: str
    clip: float | None = None


PAPERS = {
    **{
        f"zou2026/{data}-sl": Paper(2e-4, 100, 256, "cross_entropy", "adamw", "cnn6", 1) for data in DATA_SETS
    },
    **{f"zou2026/{data}-rl": Paper(1e-4, 600, 256, "reinforce", "adamw", "cnn6") for data in DATA_SETS},
    **{
        f"zou2026/{data}-rl-expected": Paper(1e-4, 600, 256, "expected_pg", "adamw", "cnn6")
        for data in DATA_SETS
    },
    "aerl-readme/sl": Paper(2e-4, 100, 256, "cross_entropy", "adamw", "cnn6", 1),
    "aerl-readme/rl": Paper(1e-3, 100, 32, "reinforce", "adamw", "cnn6"),
    "gupta2020/cifar10-ce-clean": Paper(1e-4, 220, 32, "cross_entropy", "rmsprop", "keras_cnn"),
    "gupta2020/cifar10-rl-clean": Paper(1e-4, 220, 32, "reinforce", "rmsprop", "keras_cnn"),
}

every_size = pytest.mark.parametrize(("name", "size"), EVERY)
every_library = pytest.mark.parametrize("name", LIBRARY)


def passes(phase: Phase) -> int:
    """Network passes an image and epoch: 3 for a trained view, FGSM two views and 2 passes of crafting."""
    return 3 if phase.adversary.kind == "none" else 8


def rate(recipe: Recipe, phase: int, step: int, epoch_steps: int) -> float:
    settings = recipe.phases[phase]
    factor = settings.schedule.factor(step, settings.epochs * epoch_steps, epoch_steps)
    return (settings.lr or recipe.optimizer.lr) * factor


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
    images = TRAINING_IMAGES[recipe.data.source] * (1 - recipe.data.validation)
    pixels = 4 if recipe.data.source.endswith("x64") else 1
    total = sum(phase.epochs * passes(phase) for phase in recipe.phases) * images * pixels
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
    assert {phase.objective.kind for phase in recipe.phases} == {paper.objective}
    assert recipe.data.validation == 0.1


@pytest.mark.parametrize("name", [name for name in LIBRARY if not name.startswith("gupta2020/")])
def test_images_are_varied_and_normalised_as_in_the_released_code(name: str) -> None:
    recipe = load_recipe(name)
    augment = recipe.data.augment
    assert (augment.horizontal_flip, augment.vertical_flip, augment.translate) == (True, True, 0.1)
    assert (augment.crop, augment.cutout) == (0, 0)
    source = recipe.data.source
    assert recipe.model.normalize == ("imagenet" if source == "imagenet100" else source)
    assert recipe.data.size == (224 if source == "imagenet100" else None)


@pytest.mark.parametrize("data", DATA_SETS)
def test_zou_s_three_runs_differ_in_what_they_say(data: str) -> None:
    sampled, expected = (load_recipe(f"zou2026/{data}-{kind}").phases for kind in ("rl", "rl-expected"))
    assert sampled[0].objective == Reinforce(exploration=0.1, coin="batch", log_floor=1e-6)
    assert expected[0].objective == ExpectedPG(exploration=0.1, log_floor=1e-6)
    for phases in (sampled, expected):
        assert len(phases) == 1
        assert phases[0].schedule.kind == "constant"
        assert phases[0].adversary.kind == "none"
    (supervised,) = load_recipe(f"zou2026/{data}-sl").phases
    assert supervised.schedule == Linear(warmup_epochs=5, end_factor=0.1)
    assert supervised.adversary.kind == "none"


def test_gupta_s_reward_and_decay() -> None:
    rewarded = load_recipe("gupta2020/cifar10-rl-clean")
    assert rewarded.phases[0].objective == Reinforce(reward=(1, -1))
    control = load_recipe("gupta2020/cifar10-ce-clean")
    assert control.phases[0].objective == CrossEntropy()
    for recipe in (rewarded, control):
        assert rate(recipe, 0, 1_000_000, 100) == pytest.approx(0.5e-4)
        assert recipe.model.normalize == "none"


def test_aerl_readme_turns_adversarial_where_the_commands_do() -> None:
    supervised, rewarded = load_recipe("aerl-readme/sl"), load_recipe("aerl-readme/rl")
    assert [phase.epochs for phase in rewarded.phases] == [50, 50]
    assert rewarded.phases[0].adversary.kind == "none"
    assert rewarded.phases[1].adversary == FGSM(epsilon=0.01, weight=0.2, craft="sampled")
    assert {phase.objective for phase in rewarded.phases} == {
        Reinforce(exploration=0.1, coin="batch", log_floor=1e-6)
    }
    clean, *adversarial = supervised.phases
    assert (clean.epochs, clean.adversary.kind) == (80, "none")
    for phase in adversarial:
        assert phase.adversary == FGSM(epsilon=0.01, weight=1, craft="cross_entropy")


@pytest.mark.parametrize("size", ["full", "cpu"])
def test_aerl_readme_sl_rates_join(size: str) -> None:
    recipe, steps = load_recipe("aerl-readme/sl", size=size), 71
    for index in range(len(recipe.phases) - 1):
        end = recipe.phases[index].epochs * steps
        before, last = (rate(recipe, index, step, steps) for step in (end - 2, end - 1))
        # Across the border the rate falls as it does from one update to the next, but for rounding.
        assert -1e-10 <= last - rate(recipe, index + 1, 0, steps) <= 1.001 * (before - last)


def test_aerl_readme_sl_follows_the_released_line() -> None:
    recipe, steps = load_recipe("aerl-readme/sl"), 175
    first = 0
    for index, phase in enumerate(recipe.phases):
        for step in range(phase.epochs * steps):
            epoch = first + step / steps
            released = epoch / 5 if epoch < 5 else max(0.1, (100 - epoch) / 95)
            assert math.isclose(rate(recipe, index, step, steps) / 2e-4, released, abs_tol=0.007)
        first += phase.epochs
    assert first == 100


@every_library
def test_the_file_reads_top_down(name: str) -> None:
    """A person copies these files: fields in the schema's order, sizes last."""
    folder = Path(__file__).parents[2] / "src" / "reinforced" / "recipes"
    keys = list(yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8")))
    order = [field.alias or key for key, field in Recipe.model_fields.items()]
    assert keys[-1] == "sizes"
    assert keys[:-1] == [key for key in order if key in keys]
