"""What every defence of the zoo owes, on networks that are not trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.spec import parse_attack
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.training.recipe import Recipe
from reinforced.training.recipes import load_recipe
from reinforced.zoo import DEFENCES, Bases, Defence, bases, distilled
from reinforced.zoo.networks import Winners

every_defence = pytest.mark.parametrize("defence", DEFENCES, ids=[defence.name for defence in DEFENCES])
RANDOMISED = {"input-noise", "dropout", "smoothed"}
NO_GRADIENT = {"vote"}
ZERO_GRADIENT = {"quantised", "zero-backward", "zero-backward-pgd-at"}
ASKED = {  # issue: at least these
    "sl", "pgd-at", "scaled", "log-probabilities", "zero-backward", "quantised", "input-noise",
    "label-smoothed", "trades", "fgsm-at", "distilled", "dropout", "k-winners", "vote", "smoothed",
}  # fmt: skip


class Untrained(Bases):
    """The recipes' networks as they begin."""

    def get(self, name: str, seed: int) -> nn.Module:
        if (name, seed) not in self.loaded:
            chosen = bases.recipe(name, seed).model
            with torch.random.fork_rng([]):
                torch.manual_seed(seed)
                model = build(chosen.name, shape=(1, 8, 8), classes=10, normalize=chosen.normalize)
            self.loaded[name, seed] = model.eval().requires_grad_(False)
        return self.loaded[name, seed]


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bases:
    monkeypatch.setattr(distilled, "EPOCHS", 0)
    return Untrained(tmp_path)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 1, 8, 8, generator=torch.Generator().manual_seed(3))


def logits(model: nn.Module, images: Tensor) -> Tensor:
    torch.manual_seed(0)
    out: Tensor = model(images)
    return out


def test_names_are_unique_and_none_is_missing() -> None:
    names = [defence.name for defence in DEFENCES]
    assert len(set(names)) == len(names)
    assert set(names) >= ASKED
    assert {defence.part for defence in DEFENCES} == {"set", "held out"}


@every_defence
def test_the_claim_can_be_read_and_its_attack_works_there(defence: Defence) -> None:
    assert Claim.parse(str(defence.claim)) == defence.claim
    assert defence.threat.norm in parse_attack(defence.attack).norms
    assert defence.right
    assert "inconclusive" not in defence.right


@every_defence
def test_builds_a_classifier_in_eval_mode(defence: Defence, untrained: Bases, images: Tensor) -> None:
    model = defence.build(untrained, 0)
    out = logits(model, images)
    assert not any(module.training for module in model.modules())
    assert out.shape == (12, 10)
    assert out.dtype is torch.float32
    assert out.isfinite().all()
    assert torch.equal(out, logits(defence.build(untrained, 0), images))
    again: Tensor = model(images)
    assert torch.equal(out, again) != (defence.name in RANDOMISED)


@every_defence
def test_gradients_are_as_said(defence: Defence, untrained: Bases, images: Tensor) -> None:
    x = images.requires_grad_()
    out = logits(defence.build(untrained, 0), x)
    assert out.requires_grad != (defence.name in NO_GRADIENT)
    if out.requires_grad:
        (gradient,) = torch.autograd.grad(out[:, 0].sum(), x)
        assert bool(gradient.any()) != (defence.name in ZERO_GRADIENT)


@every_defence
def test_predictions_are_kept_where_it_says_so(defence: Defence, untrained: Bases, images: Tensor) -> None:
    if not defence.keeps:
        return
    (base,) = (other for other in DEFENCES if other.name == defence.keeps)
    ours, theirs = defence.build(untrained, 0), base.build(untrained, 0)
    assert torch.equal(ours(images).argmax(1), theirs(images).argmax(1))
    assert base.threat == defence.threat


def test_one_network_serves_the_defences_on_it(untrained: Bases) -> None:
    for defence in DEFENCES:
        defence.build(untrained, 0)
    assert {seed for name, seed in untrained.loaded if name == "sl"} == {0, 1000, 2000}


@pytest.mark.parametrize("name", bases.RECIPES)
def test_bases_have_recipes(name: str) -> None:
    recipe = bases.recipe(name, 7)
    assert isinstance(recipe, Recipe)
    assert recipe.seed == 7
    assert recipe.data.source == "digits"
    assert recipe.probe is None
    assert recipe.early_stopping is None


def test_a_base_is_trained_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = load_recipe("quickstart/sl", overrides=["phases.0.epochs=1", "data.limit=128"])
    monkeypatch.setattr(bases, "recipe", lambda name, seed: short)
    told: list[str] = []
    first = Bases(tmp_path, told=told.append).get("sl", 0)
    written = (tmp_path / "sl-seed0" / "summary.json").stat().st_mtime_ns
    again = Bases(tmp_path).get("sl", 0)
    assert told == ["training sl-seed0"]
    assert (tmp_path / "sl-seed0" / "summary.json").stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_an_unknown_base_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match="did you mean 'pgd-at'"):
        Bases(tmp_path).get("pgd-ad", 0)


def test_the_distilled_student_follows_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = load_recipe("quickstart/sl", overrides=["phases.0.epochs=2"])
    monkeypatch.setattr(bases, "recipe", lambda name, seed: short)
    monkeypatch.setattr(distilled, "EPOCHS", 3)
    student = distilled.build(Bases(tmp_path), 0)
    teacher = Bases(tmp_path).get("sl", 0)
    images = torch.rand(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert float(student(images).std()) > 20 * float(teacher(images).std())
    stored = (tmp_path / "distilled-seed0.safetensors").read_bytes()
    again = distilled.build(Bases(tmp_path), 0)
    assert torch.equal(student(images), again(images))
    assert (tmp_path / "distilled-seed0.safetensors").read_bytes() == stored


def test_k_winners_keeps_the_largest() -> None:
    x = torch.tensor([[3.0, -1.0, 2.0, 5.0, 0.5]])
    assert Winners(0.4)(x).tolist() == [[3.0, 0.0, 0.0, 5.0, 0.0]]
