"""The check after an epoch: what it measures, on what, and what it does about a collapse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.data import Split, load, to_float
from reinforced.models import build
from reinforced.streams import Stream
from reinforced.training import probe as probing
from reinforced.training.adversaries import AWP, FGSM, PGD, TRADES, Fast, NoAdversary
from reinforced.training.checkpoint import load_checkpoint, weights_hash
from reinforced.training.loop import train
from reinforced.training.probe import Probe, alignment, collapsed, outwitted
from reinforced.training.progress import Silent
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]
Pieces = Callable[[Recipe, Path, int], int]
Figures = Callable[[Path], list[dict[str, Any]]]
CPU = torch.device("cpu")
SMALL = {"train_images": 8, "validation_images": 4, "steps": 1}


class Linear(nn.Module):
    """Two classes, ``logits[1] - logits[0] = w . x - 0.5 sum(w)``."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, generator=torch.Generator().manual_seed(2)))

    def forward(self, images: Tensor) -> Tensor:
        score = (images.flatten(1) - 0.5) @ self.w
        return torch.stack([-score, score], dim=1) / 2


def split(seed: int, count: int = 80) -> Split:
    """Images that no perturbation of 8/255 takes out of [0,1], so that the box plays no part."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 195, (count, 8, 8, 1), generator=generator, dtype=torch.uint8)
    return Split(images, torch.randint(0, 2, (count,), generator=generator))


def robust_by_hand(model: Linear, images: Split, count: int, epsilon: float) -> float:
    x = to_float(images.images[:count]).flatten(1) - 0.5
    margin = (2 * images.labels[:count] - 1) * (x @ model.w.detach())
    return float((margin > epsilon * model.w.detach().abs().sum()).double().mean())


@pytest.mark.parametrize("epsilon", [1, 2, 4])
def test_robust_accuracy_of_a_known_model(epsilon: int) -> None:
    model, train_split, validation = Linear(), split(3), split(4)
    check = Probe(threat=f"linf:{epsilon}/255", train_images=60, validation_images=40)
    found = check.measure(model, train_split, validation, seed=0)
    expected = robust_by_hand(model, train_split, 60, epsilon / 255)
    assert found["robust_train_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert 0 < expected < 0.6
    expected = robust_by_hand(model, validation, 40, epsilon / 255)
    assert found["robust_validation_accuracy"] == pytest.approx(expected, abs=1e-12)
    assert found["gradient_alignment"] == pytest.approx(1, abs=1e-6)


def test_it_says_on_how_many_images(make: Make, fit: Fit, tmp_path: Path) -> None:
    check = Probe(train_images=60, validation_images=100)
    assert check.counts(split(3), split(4)) == {"robust_train_images": 60, "robust_validation_images": 80}
    probe = SMALL | {"validation_images": 10**6}
    summary = fit(make(phases=[{"epochs": 1}], probe=probe), tmp_path / "run")
    assert summary["robust_train_images"] == SMALL["train_images"]
    assert summary["robust_validation_images"] == summary["validation_images"]
    share = summary["robust_validation_accuracy"] * summary["validation_images"]
    assert share == pytest.approx(round(share), abs=1e-6)


def test_validation_images_can_be_left_out() -> None:
    found = Probe(validation_images=0).measure(Linear(), split(3), split(4), seed=0)
    assert set(found) == {"robust_train_accuracy", "gradient_alignment"}


def test_alignment_of_a_linear_model_is_one_and_of_a_folded_one_is_not() -> None:
    images, labels = probing.first(split(3), 40, CPU)
    threat = ThreatModel.parse("linf:8/255")
    assert alignment(Linear(), images, labels, threat, Stream(0, "alignment")) == pytest.approx(1, abs=1e-6)

    class Folded(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward((200 * images).sin())

    assert alignment(Folded(), images, labels, threat, Stream(0, "alignment")) < 0.5


def test_images_without_gradient_count_nothing_for_alignment() -> None:
    class Flat(Linear):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where(torch.arange(len(images))[:, None] < 10, logits, 0 * logits)

    images, labels = probing.first(split(3), 40, CPU)
    found = alignment(Flat(), images, labels, ThreatModel.parse("linf:8/255"), Stream(0, "alignment"))
    assert found == pytest.approx(0.25, abs=1e-6)


@pytest.mark.parametrize(
    ("robust", "best", "expected"),
    [
        (0.5, 0.5, False),
        (0.25, 0.5, False),
        (0.2499, 0.5, True),
        (0.1, 0.2, False),
        (0.0999, 0.2, True),
        (0.0, 0.1, True),
        (0.0, 0.0999, False),
        (0.0, 0.0, False),
        (0.6, 0.0, False),
    ],
)
def test_a_collapse_is_less_than_half_and_by_ten_points(robust: float, best: float, expected: bool) -> None:
    assert collapsed(robust, best) is expected


def test_it_is_due_every_so_often_and_at_the_end() -> None:
    assert [epoch for epoch in range(1, 8) if Probe(every=3).due(epoch, 7)] == [3, 6, 7]


def test_measuring_changes_nothing() -> None:
    torch.manual_seed(0)
    model = build("user_networks:noisy", shape=(1, 8, 8), classes=2).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    check = Probe(train_images=20, validation_images=10, steps=3)
    found = [check.measure(model, split(3), split(4), seed=1) for _ in range(2)]
    assert found[0] == found[1]
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weight.grad is None for weight in model.parameters())


def test_only_the_first_training_and_validation_images_are_attacked(
    make: Make, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    align = probing.alignment

    def attacked(method: Any, model: nn.Module, images: Tensor, *rest: Any, **named: Any) -> Any:
        seen.append(images)
        return run_attack(method, model, images, *rest, **named)

    def aligned(model: nn.Module, images: Tensor, *rest: Any) -> float:
        seen.append(images)
        return align(model, images, *rest)

    monkeypatch.setattr(probing, "run_attack", attacked)
    monkeypatch.setattr(probing, "alignment", aligned)
    fit(make(probe=SMALL, phases=[{"epochs": 1}]), tmp_path / "run")
    data = load("digits", limit=96)
    train_images = to_float(data.train.batch(torch.arange(8))[0])
    validation = to_float(data.validation.batch(torch.arange(4))[0])
    expected = [train_images, train_images, validation]
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


def test_an_epochs_figures_are_those_of_its_weights(
    make: Make, fit: Fit, figures: Figures, tmp_path: Path
) -> None:
    """The kept weights are measured, which averaging makes others than the trained ones."""
    recipe = make(probe=SMALL, averaging={"kind": "ema", "decay": 0.5}, keep_every=1)
    fit(recipe, tmp_path / "run")
    assert recipe.probe is not None
    data = load("digits", limit=96)
    for row in figures(tmp_path / "run"):
        model = build("user_networks:linear", shape=(1, 8, 8), classes=10)
        model.load_state_dict(load_checkpoint(RunDirectory(tmp_path / "run").weights(str(row["epoch"])))[0])
        found = recipe.probe.measure(model.eval(), data.train, data.validation, recipe.seed)
        assert {name: row[name] for name in found} == found


class Listener(Silent):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the next checks find these accuracies on training and on validation images."""

    def write(train_accuracies: list[float], validation: list[float] | None = None) -> None:
        rest: Iterator[tuple[float, float]] = iter(
            zip(train_accuracies, validation or train_accuracies, strict=True)
        )

        def measure(self: Probe, *_: object) -> dict[str, float]:
            here, there = next(rest)
            return {
                "robust_train_accuracy": here,
                "gradient_alignment": 1.0,
                "robust_validation_accuracy": there,
            }

        monkeypatch.setattr(Probe, "measure", measure)

    return write


def guarded(make: Make, epochs: int, **settings: Any) -> Recipe:
    return make(
        phases=[{"epochs": epochs}], probe=SMALL | settings, keep_every=1, optimizer={"kind": "adamw"}
    )


def listened(recipe: Recipe, run: Path) -> tuple[dict[str, Any], list[str]]:
    listener = Listener()
    return train(recipe, run, device=CPU, reporter=listener), listener.notes


def test_select_keeps_the_most_robust_epoch(
    make: Make, fit: Fit, tmp_path: Path, script: Callable[..., None]
) -> None:
    """The first of equals, whatever the clean accuracy."""
    script([0.5] * 5, [0.3, 0.5, 0.4, 0.5, 0.1])
    summary = fit(guarded(make, 5, select=True), tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    assert (summary["best_epoch"], summary["best_robust_validation_accuracy"]) == (2, 0.5)
    assert weights_hash(run.weights("best")) == weights_hash(run.weights("2"))
    assert summary["best_validation_accuracy"] == run.metrics()[1]["validation_accuracy"]
    assert summary["robust_validation_accuracy"] == 0.1


def test_early_stopping_on_robust_accuracy_waits_for_its_checks(
    make: Make, fit: Fit, tmp_path: Path, script: Callable[..., None]
) -> None:
    """Checked after epochs 3, 6 and 9: patience of 2 runs out at the first check without a rise."""
    script([0.3, 0.4, 0.4])
    recipe = make(
        phases=[{"epochs": 20}], probe=SMALL | {"select": True, "every": 3}, early_stopping={"patience": 2}
    )
    summary = fit(recipe, tmp_path / "run")
    assert (summary["epochs"], summary["best_epoch"], summary["stopped_early"]) == (9, 6, True)


def test_a_collapse_is_said(make: Make, tmp_path: Path, script: Callable[..., None]) -> None:
    script([0.6, 0.2, 0.5, 0.1])
    summary, notes = listened(guarded(make, 4, threat="linf:2/255"), tmp_path / "run")
    assert (summary["epochs"], summary["stopped_early"], summary["collapsed_epochs"]) == (4, False, [2, 4])
    rows = RunDirectory(tmp_path / "run").metrics()
    assert [row.get("collapsed", False) for row in rows] == [False, True, False, True]
    assert notes == [
        "catastrophic overfitting in epoch 2: accuracy under PGD-1 linf:2/255 on training images fell "
        "from 60.0% to 20.0%",
        "catastrophic overfitting in epoch 4: accuracy under PGD-1 linf:2/255 on training images fell "
        "from 60.0% to 10.0%",
    ]


def test_stop_stops_and_says_so(make: Make, tmp_path: Path, script: Callable[..., None]) -> None:
    script([0.6, 0.2])
    summary, notes = listened(guarded(make, 4, on_collapse="stop"), tmp_path / "run")
    assert (summary["epochs"], summary["stopped_early"], summary["collapsed_epochs"]) == (2, True, [2])
    assert summary["robust_train_accuracy"] == 0.2
    (note,) = notes
    assert note.endswith("from 60.0% to 20.0%; stopped")


def test_roll_back_restores_the_last_sound_weights(
    make: Make, tmp_path: Path, script: Callable[..., None]
) -> None:
    script([0.6, 0.2, 0.55, 0.1])
    summary, notes = listened(guarded(make, 4, on_collapse="roll_back", select=True), tmp_path / "run")
    run = RunDirectory(tmp_path / "run")
    kept = [weights_hash(run.weights(str(epoch))) for epoch in (1, 2, 3, 4)]
    assert kept[1] == kept[0] != kept[2] == kept[3]
    assert weights_hash(run.weights("last")) == kept[3]
    assert [row.get("rolled_back", False) for row in run.metrics()] == [False, True, False, True]
    assert "; back to the last sound weights (1 of 3 times)" in notes[0]
    assert "; back to the last sound weights (2 of 3 times)" in notes[1]
    # What is reported is of the weights that are left: those of epoch 3.
    assert (summary["epochs"], summary["robust_train_accuracy"]) == (4, 0.55)
    assert summary["validation_accuracy"] == run.metrics()[2]["validation_accuracy"]
    # The optimiser's moments too: its step count is that of two epochs, not of four.
    state, _ = load_checkpoint(run.state)
    assert int(state["optimizer.0.step"]) == 6


def test_the_fourth_collapse_stops(make: Make, tmp_path: Path, script: Callable[..., None]) -> None:
    script([0.6, 0.2, 0.2, 0.2, 0.2])
    summary, notes = listened(guarded(make, 9, on_collapse="roll_back"), tmp_path / "run")
    assert (summary["epochs"], summary["stopped_early"]) == (5, True)
    assert [note.rsplit("; ", 1)[1] for note in notes] == [
        "back to the last sound weights (1 of 3 times)",
        "back to the last sound weights (2 of 3 times)",
        "back to the last sound weights (3 of 3 times)",
        "stopped",
    ]


@pytest.mark.parametrize("on_collapse", ["stop", "roll_back"])
def test_without_sound_weights_to_go_back_to_it_stops(
    make: Make, tmp_path: Path, script: Callable[..., None], on_collapse: str
) -> None:
    """The first check may already find the adversary harmless; a note is all that resuming could change."""
    script([0.0])
    recipe = guarded(make, 4, on_collapse=on_collapse, threat="linf:0.001", every=2)
    phases = [{"epochs": 4, "adversary": {"kind": "fgsm", "epsilon": 0.001, "step": 0.001}}]
    recipe = make(phases=phases, probe=recipe.probe.model_dump() if recipe.probe else None)
    summary, notes = listened(recipe, tmp_path / "run")
    assert (summary["epochs"], summary["stopped_early"], summary["collapsed_epochs"]) == (2, True, [2])
    (note,) = notes
    assert "under fgsm as trained" in note
    assert note.endswith("; stopped, no check before has found the weights sound")


@pytest.mark.parametrize("averaging", [None, {"kind": "ema", "decay": 0.99}])
def test_an_average_is_not_held_against_what_the_bare_weights_were_shown(
    make: Make, tmp_path: Path, script: Callable[..., None], averaging: dict[str, Any] | None
) -> None:
    """It lags behind them, and that is no catastrophe; without one the same figures are."""
    script([0.0] * 4)
    adversary = {"kind": "fgsm", "epsilon": 0.001, "step": 0.001}
    recipe = make(
        phases=[{"epochs": 4, "adversary": adversary}],
        probe=SMALL | {"threat": "linf:0.001"},
        averaging=averaging,
    )
    summary, notes = listened(recipe, tmp_path / "run")
    assert bool(notes) == ("collapsed_epochs" in summary) == (averaging is None)


@pytest.mark.parametrize("every", [1, 2])
def test_a_roll_back_is_resumable_to_the_bit(
    make: Make,
    fit: Fit,
    fit_in_pieces: Pieces,
    figures: Figures,
    tmp_path: Path,
    script: Callable[..., None],
    every: int,
) -> None:
    recipe = guarded(make, 4, on_collapse="roll_back").model_copy(
        update={"model": make(model={"name": "user_networks:noisy"}).model}
    )
    found = [0.6, 0.2, 0.7, 0.5]
    script(found)
    fit(recipe, tmp_path / "whole")
    script(found)
    fit_in_pieces(recipe, tmp_path / "pieces", every)
    whole, pieces = RunDirectory(tmp_path / "whole"), RunDirectory(tmp_path / "pieces")
    for which in ("last", "best", "good", "state"):
        assert weights_hash(whole.weights(which)) == weights_hash(pieces.weights(which))
    assert figures(whole.path) == figures(pieces.path)


@pytest.mark.parametrize(
    ("robust", "crafted", "expected"),
    [(0.1, 0.36, True), (0.1, 0.34, False), (0.3, 0.59, False), (0.3, 0.61, True), (0.0, 0.0, False)],
)
def test_an_adversary_that_has_become_harmless(robust: float, crafted: float, expected: bool) -> None:
    assert outwitted(robust, crafted) is expected


def test_only_an_adversary_whose_ball_holds_the_probes_compares() -> None:
    probe = Probe(threat="linf:8/255")
    assert probe.covered_by(PGD())
    assert probe.covered_by(AWP(inner=Fast()))
    assert not probe.covered_by(FGSM())  # 0.01
    assert not probe.covered_by(PGD(norm="l2", epsilon=0.5))
    assert not probe.covered_by(NoAdversary())


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e-32, 1e-38])
def test_alignment_of_tiny_gradients_is_a_cosine(scale: float) -> None:
    class Sure(Linear):
        """Right about all images, by about a hundred at the scale of 1e-38."""

        def forward(self, images: Tensor) -> Tensor:
            score = (images.flatten(1) - 0.5) @ (1e-3 * self.w) - math.log(scale)
            return torch.stack([torch.zeros_like(score), -score], dim=1)

    images, threat = split(0), ThreatModel.parse("linf:2/255")
    labels = torch.zeros_like(images.labels)
    found = alignment(Sure(), to_float(images.images), labels, threat, Stream(0, "a"))
    assert found == pytest.approx(1, abs=1e-3)


def test_an_adversary_of_short_steps_does_not_cover_the_ball() -> None:
    probe = Probe(threat="linf:8/255")
    assert probe.covered_by(PGD(epsilon=8 / 255))
    assert probe.covered_by(TRADES())
    assert not probe.covered_by(PGD(epsilon=8 / 255, steps=2, step=2 / 255))
