"""The baselines, the hybrids and the quickstart: what each of them must hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from reinforced.attacks.threat import DIGITS
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.objectives import CrossEntropy, ExpectedPG, Interpolation, Reinforce
from reinforced.regularisers import InputGradient, SpectralNorm, SpectralPenalty
from reinforced.training.adversaries import AWP, MART, PGD, TRADES
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe
from reinforced.training.schedules import OneCycle, Step
from tests.training.recipe_library import EPSILON, LIBRARY, SAME_TRADES


@pytest.mark.parametrize("name", [name for name in LIBRARY if name.startswith("baselines/")])
def test_baselines_are_compared_under_one_threat(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.probe is not None
    assert recipe.probe.threat == "linf:8/255"
    assert recipe.data.augment.horizontal_flip
    for phase in recipe.phases:
        inner = getattr(phase.adversary, "inner", phase.adversary)
        assert getattr(inner, "epsilon", 8 / 255) == pytest.approx(8 / 255)


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
