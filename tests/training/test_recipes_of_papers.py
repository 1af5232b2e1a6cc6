"""The recipes after Zou et al. 2026, Gupta 2020 and the released README: what each of them must hold."""

from __future__ import annotations

import math
import re

import pytest

from reinforced.attacks.threat import ThreatModel
from reinforced.objectives import CrossEntropy, ExpectedPG, Reinforce
from reinforced.training.adversaries import FGSM, TRADES
from reinforced.training.recipes import load_recipe
from reinforced.training.schedules import Constant, InverseTime, Linear
from tests.training.recipe_library import (
    DATA_SETS,
    EPSILON,
    LIBRARY,
    RELEASED,
    SAME_TRADES,
    rate,
    without_objective,
)


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
