"""Every shipped recipe: it loads in every size, says where it comes from, and holds its source's settings."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import yaml

from reinforced.attacks.threat import DIGITS, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.models import build, names
from reinforced.objectives import CrossEntropy, ExpectedPG, Interpolation, Reinforce
from reinforced.regularisers import InputGradient, SpectralNorm, SpectralPenalty
from reinforced.training.adversaries import AWP, FGSM, MART, PGD, TRADES
from reinforced.training.loop import train
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe, recipe_names, recipe_yaml
from reinforced.training.schedules import Constant, InverseTime, Linear, OneCycle, Step

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
    "cifar10": 50_000,
}
MOST_PASSES = 2_500_000  # of a `cpu` size, at 32 px: a quarter of an hour on two cores
DATA_SETS = ("cifar10", "cifar100", "imagenet100")


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

EPSILON = 8 / 255
RELEASED = Reinforce(exploration=0.1, coin="batch", log_floor=1e-6)
SAME_TRADES = TRADES(norm="linf", epsilon=EPSILON, beta=6, steps=10, step=0.007)

every_size = pytest.mark.parametrize(("name", "size"), EVERY)
every_library = pytest.mark.parametrize("name", LIBRARY)


def without_objective(recipe: Recipe) -> Recipe:
    """The recipe with everything about its objectives, name and source blotted out."""
    phases = tuple(phase.model_copy(update={"objective": CrossEntropy()}) for phase in recipe.phases)
    return recipe.model_copy(update={"name": "", "source": "", "phases": phases})


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


@pytest.mark.parametrize("name", [name for name in LIBRARY if name.startswith("baselines/")])
def test_baselines_are_compared_under_one_threat(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.probe is not None
    assert recipe.probe.threat == "linf:8/255"
    assert recipe.data.augment.horizontal_flip
    for phase in recipe.phases:
        inner = getattr(phase.adversary, "inner", phase.adversary)
        assert getattr(inner, "epsilon", 8 / 255) == pytest.approx(8 / 255)


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


@pytest.mark.parametrize("data", DATA_SETS)
def test_zou_s_adversarial_runs_are_as_released(data: str) -> None:
    supervised, rewarded = load_recipe(f"zou2026/{data}-sl-adv"), load_recipe(f"zou2026/{data}-rl-adv")
    assert [phase.epochs for phase in rewarded.phases] == [400, 200]
    assert {phase.objective for phase in rewarded.phases} == {RELEASED}
    assert {phase.schedule for phase in rewarded.phases} == {Constant()}
    assert rewarded.phases[0].adversary.kind == "none"
    assert rewarded.phases[1].adversary == FGSM(epsilon=0.01, weight=1, clean_weight=1, craft="sampled")
    assert supervised.phases == load_recipe("aerl-readme/sl").phases


@pytest.mark.parametrize("size", ["full", "cpu"])
@pytest.mark.parametrize("data", DATA_SETS)
def test_the_corrected_pair_differs_in_the_objective_alone(data: str, size: str) -> None:
    supervised = load_recipe(f"zou2026/{data}-sl-adv-corrected", size=size)
    rewarded = load_recipe(f"zou2026/{data}-rl-adv-corrected", size=size)
    assert without_objective(supervised) == without_objective(rewarded)
    # Importance correction would take away what keeps classes alive (docs/objectives/reinforce.md).
    assert {phase.objective for phase in rewarded.phases} == {
        Reinforce(exploration=0.1, coin="image", importance=False)
    }
    clean, adversarial = rewarded.phases
    assert clean.adversary.kind == "none"
    assert adversarial.adversary == FGSM(epsilon=0.01, weight=1, clean_weight=1, craft="cross_entropy")


@pytest.mark.parametrize("size", ["full", "cpu"])
@pytest.mark.parametrize("data", DATA_SETS)
def test_the_trades_runs_differ_in_the_objective_alone(data: str, size: str) -> None:
    recipes = [
        load_recipe(f"zou2026/{data}-{kind}-adv-trades", size=size) for kind in ("sl", "rl", "rl-expected")
    ]
    assert all(without_objective(recipe) == without_objective(recipes[0]) for recipe in recipes)
    for recipe in recipes:
        (phase,) = recipe.phases
        assert phase.adversary == SAME_TRADES
        assert recipe.probe is not None
        assert recipe.probe.select
        assert recipe.probe.threat == "linf:8/255"
    sampled, expected = (recipe.phases[0].objective for recipe in recipes[1:])
    assert sampled == Reinforce(exploration=0.1)
    assert expected == ExpectedPG(exploration=0.1)


@pytest.mark.parametrize("name", [name for name in LIBRARY if "L2: " in load_recipe(name).source])
def test_the_overrides_for_l2_work(name: str) -> None:
    overrides = re.findall(r"\S+=\S+\b", load_recipe(name).source.partition("In L2: ")[2].partition(". ")[0])
    recipe = load_recipe(name, overrides=overrides)
    adversary = recipe.phases[0].adversary
    assert isinstance(adversary, TRADES)
    assert ThreatModel(adversary.norm, adversary.epsilon) == ThreatModel("l2", 0.5)
    assert recipe.probe is not None
    assert recipe.probe.threat == "l2:0.5"


@pytest.mark.parametrize("kind", ["clean", "fgsm"])
def test_gupta_s_reward_and_decay(kind: str) -> None:
    rewarded = load_recipe(f"gupta2020/cifar10-rl-{kind}")
    assert rewarded.phases[0].objective == Reinforce(reward=(1, -1))
    control = load_recipe(f"gupta2020/cifar10-ce-{kind}")
    assert control.phases[0].objective == CrossEntropy()
    for recipe in (rewarded, control):
        assert rate(recipe, 0, 1_000_000, 100) == pytest.approx(0.5e-4)
        assert recipe.phases[0].schedule == InverseTime(decay=1e-6)
        assert recipe.model.normalize == "none"


@pytest.mark.parametrize("objective", ["ce", "rl"])
def test_gupta_trains_on_crafted_images_only(objective: str) -> None:
    recipe = load_recipe(f"gupta2020/cifar10-{objective}-fgsm")
    assert recipe.phases[0].adversary == FGSM(epsilon=EPSILON, clean_weight=0, mode="eval")
    assert recipe.keep_every == 20


def test_the_baselines_hold_their_papers_settings() -> None:
    inner = PGD(epsilon=EPSILON, steps=10, step=2 / 255)
    trades = TRADES(epsilon=EPSILON, beta=6, steps=10, step=0.007)
    expected = {
        "pgd-at": (inner, (), Step(milestones=(100, 150))),
        "trades": (trades, (), Step(milestones=(75, 90))),
        "mart": (MART(epsilon=EPSILON, beta=5, steps=10, step=0.007), (), Step(milestones=(75, 90, 100))),
        "awp": (AWP(inner=inner, gamma=0.01), (), Step(milestones=(100, 150))),
        "pgd-at+gradient-penalty": (
            inner,
            (InputGradient(norm="l1", strength=2 / 255),),
            Step(milestones=(100, 150)),
        ),
        "gradient-penalty": (
            None,
            (InputGradient(norm="l1", strength=EPSILON),),
            Step(milestones=(100, 150)),
        ),
        "spectral-norm": (None, (SpectralNorm(limit=1),), Step(milestones=(100, 150))),
        "spectral-penalty": (None, (SpectralPenalty(strength=0.01),), Step(milestones=(100, 150))),
    }
    for name, (adversary, regularisers, schedule) in expected.items():
        recipe = load_recipe(f"baselines/{name}")
        (phase,) = recipe.phases
        assert phase.adversary.kind == "none" if adversary is None else phase.adversary == adversary
        assert phase.regularisers == regularisers
        assert phase.schedule == schedule
        augment = recipe.data.augment
        assert (augment.horizontal_flip, augment.vertical_flip, augment.crop) == (True, False, 4)
        assert recipe.probe is not None
        assert recipe.probe.select
        assert recipe.probe.threat == "linf:8/255"
    assert load_recipe("baselines/fast-at").phases[0].schedule == OneCycle()
    assert load_recipe("baselines/trades").optimizer.weight_decay == 2e-4
    assert load_recipe("baselines/mart").optimizer.weight_decay == 3.5e-3


def test_the_hybrids_pass_from_one_objective_to_the_other() -> None:
    sampled, expected = Reinforce(exploration=0.1), ExpectedPG(exploration=0.1)
    to_rl, to_sl = load_recipe("hybrid/sl-to-rl"), load_recipe("hybrid/rl-to-sl")
    assert [phase.objective for phase in to_rl.phases] == [CrossEntropy(), sampled]
    assert [phase.objective for phase in to_sl.phases] == [sampled, CrossEntropy()]
    adversarial = load_recipe("hybrid/sl-adv-to-rl-adv")
    assert [phase.objective for phase in adversarial.phases] == [CrossEntropy(), sampled]
    assert {phase.adversary for phase in adversarial.phases} == {SAME_TRADES}
    blend = Interpolation(first=CrossEntropy(), second=expected)
    assert load_recipe("hybrid/interpolation").phases[0].objective == blend


def test_fine_tuning_asks_for_weights_and_takes_them(tmp_path: Path) -> None:
    overrides = ["data.source=synthetic:10x8", "batch_size=32", "phases.0.epochs=1", "model.name=tiny"]
    recipe = load_recipe("hybrid/fine-tune", overrides=overrides)
    with pytest.raises(ReinforcedError, match="no weights file give-your-trained-model"):
        train(recipe, tmp_path / "without", device=torch.device("cpu"))
    weights = tmp_path / "trained.pth"
    torch.save(build("tiny", shape=(3, 8, 8), classes=10, normalize="cifar10").state_dict(), weights)
    recipe = load_recipe("hybrid/fine-tune", overrides=[*overrides, f"model.weights={weights}"])
    assert train(recipe, tmp_path / "with", device=torch.device("cpu"))["epochs"] == 1


def test_the_quickstart_s_adversarial_pair_meets_its_budget() -> None:
    supervised, rewarded = load_recipe("quickstart/sl-adv"), load_recipe("quickstart/rl-adv")
    for recipe, plain in ((supervised, "sl"), (rewarded, "rl")):
        (phase,) = recipe.phases
        assert phase.adversary == PGD(epsilon=DIGITS.epsilon, norm=DIGITS.norm, steps=3)
        assert phase.objective == load_recipe(f"quickstart/{plain}").phases[0].objective
        assert recipe.probe is not None
        assert recipe.probe.threat == str(DIGITS)


@pytest.mark.parametrize("name", ["quickstart/sl-adv", "quickstart/rl-adv"])
def test_the_quickstart_s_adversarial_pair_trains(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name, overrides=["phases.0.epochs=1", "data.limit=300"])
    assert train(recipe, tmp_path / "run", device=torch.device("cpu"))["epochs"] == 1


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


@pytest.mark.parametrize(("name", "size"), EVERY)
def test_rates_join(name: str, size: str) -> None:
    """Where a schedule goes on across a border, the rate falls as it does from one update to the next."""
    recipe, steps = load_recipe(name, size=size), 71
    for index in range(len(recipe.phases) - 1):
        end = recipe.phases[index].epochs * steps
        before, last = (rate(recipe, index, step, steps) for step in (end - 2, end - 1))
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
