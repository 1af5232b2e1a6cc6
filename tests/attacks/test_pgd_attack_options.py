"""PGD's losses, targets, momentum, EOT and keeping, against closed forms on linear classifiers."""

from __future__ import annotations

from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.losses import Loss, margin
from reinforced.attacks.pgd import PGD, accumulate
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

LOSSES: tuple[Loss, ...] = get_args(Loss)
DUAL = {"linf": 1, "l2": 2}
EPSILON = {"linf": 0.1, "l2": 0.3}


class Linear(nn.Module):
    """Logits ``scale * (weight @ (x - 0.5) + bias)`` of 1x6x6 images."""

    def __init__(self, bias: Tensor, scale: float = 1.0, spread: Tensor | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        spread = torch.ones(len(bias)) if spread is None else spread
        self.weight = torch.randn(len(bias), 36, generator=generator) * spread[:, None]
        self.bias, self.scale = bias, scale

    def forward(self, images: Tensor) -> Tensor:
        return self.scale * ((images - 0.5).flatten(1) @ self.weight.T + self.bias)

    def reach(self, threat: ThreatModel) -> Tensor:
        """The most by which each class can gain on class 0, (K,)."""
        rows = self.scale * (self.weight - self.weight[0])
        norms: Tensor = torch.linalg.vector_norm(rows, ord=DUAL[threat.norm], dim=1)
        return threat.epsilon * norms


def rivals() -> Tensor:
    """Class 0 ahead by far, class 1 second, the others out of reach."""
    return torch.tensor([9.0, 3, -40, -50, -60])


def images(n: int = 6) -> Tensor:
    return 0.5 + 0.1 * (torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(2)) - 0.5)


def proposed(attack: PGD, model: nn.Module, threat: ThreatModel, seed: int = 0) -> Tensor:
    batch = Batch(images(), torch.zeros(6, dtype=torch.int64))
    return attack.candidates(model, batch, threat, Stream(seed, "test")).images


def drop(model: nn.Module, found: Tensor, rival: int = 1) -> Tensor:
    """How much ``rival`` has gained on class 0."""
    gain: Tensor = model(found) - model(images())
    return gain[:, rival] - gain[:, 0]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("momentum", [0, 0.75])
@pytest.mark.parametrize("targeted", [False, True])
def test_every_loss_reaches_the_optimal_margin_drop(
    norm: Norm, loss: Loss, momentum: float, targeted: bool
) -> None:
    model, threat = Linear(rivals()), ThreatModel(norm, EPSILON[norm])
    options = {"targeted": True, "target_classes": 1} if targeted else {}
    attack = PGD(loss=loss, momentum=momentum, step=threat.epsilon / 4, steps=25, **options)
    found = drop(model, proposed(attack, model, threat))
    assert (found <= 1.001 * model.reach(threat)[1]).all()
    assert (found >= model.reach(threat)[1] / 1.01).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["margin", "dlr"])
def test_targets_find_the_rival_that_is_not_the_nearest(norm: Norm, loss: Loss) -> None:
    # Class 1 leads at first, but only class 2, with much steeper logits, is within reach.
    threat = ThreatModel(norm, EPSILON[norm])
    model = Linear(torch.tensor([8.0, 6, 2, -30]), spread=torch.tensor([0.1, 0.1, 5, 0.1]))
    score = model(images())
    reachable = score - score[:, :1] + model.reach(threat)
    assert (reachable[:, 2] > 0).all()
    assert (reachable[:, [1, 3]] < 0).all()
    labels = torch.zeros(6, dtype=torch.int64)
    plain = PGD(loss=loss, random_start=False, step=threat.epsilon / 10)
    targeted = PGD(loss=loss, random_start=False, step=threat.epsilon / 10, targeted=True)
    assert (margin(model(proposed(plain, model, threat)), labels) < 0).all()
    assert (margin(model(proposed(targeted, model, threat)), labels) > 0).all()


@pytest.mark.parametrize("norm", NORMS)
def test_saturated_logits_hide_the_gradient_from_cross_entropy_alone(norm: Norm) -> None:
    # The same model at scale 1 falls to every loss; at 1,000 its margin of 200 and more leaves a loss of 0.
    threat = ThreatModel(norm, EPSILON[norm])
    bias = torch.tensor([0.35, 0.0, -3, -4, -5])
    for scale, survivors in ((1.0, set()), (1000.0, {"ce"})):
        model = Linear(bias, scale)
        model.weight[0] = 0  # else an image's own pixels move the clean margin
        model.weight *= 0.3
        survived = set()
        for loss in LOSSES:
            found = proposed(PGD(loss=loss, random_start=False), model, threat)
            right = model(found).argmax(dim=1) == 0
            assert right.all() or not right.any()
            survived |= {loss} if right.all() else set()
        assert survived == survivors


@pytest.mark.parametrize("momentum", [0.5, 1.0])
def test_momentum_is_the_sum_of_l1_normalised_gradients(momentum: float) -> None:
    first, second = torch.randn(2, 3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    velocity = accumulate(accumulate(None, first, momentum), 1e-30 * second, momentum)
    sizes = [g.abs().sum(dim=(1, 2, 3), keepdim=True) for g in (first, second)]
    assert torch.allclose(velocity, momentum * first / sizes[0] + second / sizes[1], atol=1e-6)
    assert torch.equal(accumulate(None, torch.zeros(1, 1, 2, 2), momentum), torch.zeros(1, 1, 2, 2))


class Noisy(Linear):
    """Adds to each logit a random linear function whose slopes drown the true ones; the mean stays.

    ``passes`` counts the forward passes.
    """

    def __init__(self, noise: float) -> None:
        super().__init__(torch.tensor([2.0, 0.0, -20]))
        self.noise, self.passes = noise, 0

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        slopes = self.noise * torch.randn(3, 36)
        return super().forward(images) + (images - 0.5).flatten(1) @ slopes.T


def test_eot_finds_the_mean_gradient_of_a_noisy_model() -> None:
    threat = ThreatModel("l2", 0.3)

    def gained(eot: int) -> float:
        torch.manual_seed(0)
        model = Noisy(noise=5)
        attack = PGD(loss="margin", random_start=False, steps=6, step=0.1, eot=eot, keep="strongest")
        found = proposed(attack, model, threat)
        assert model.passes == 7 * eot
        quiet = Noisy(noise=0)
        return (drop(quiet, found) / quiet.reach(threat)[1]).mean().item()

    assert gained(1) < 0.6
    assert gained(64) > 0.85


def test_eot_is_counted_and_traced_by_the_mean() -> None:
    model, data = Linear(rivals()), images()
    batch = Batch(data, torch.zeros(6, dtype=torch.int64))
    threat = ThreatModel("linf", 0.05)
    once, often = (
        PGD(steps=3, eot=eot, keep="strongest").candidates(model, batch, threat, Stream(0, "test"))
        for eot in (1, 4)
    )
    assert once.trace is not None
    assert often.trace is not None
    assert torch.allclose(once.trace, often.trace, atol=1e-5)
    result = run_attack(PGD(steps=3, eot=4), model, data, batch.labels, threat, seed=0)
    assert (result.forwards, result.gradients) == (6 * 4 * 4, 6 * 3 * 4)


def test_targeted_passes_and_trace() -> None:
    model, data = Linear(rivals()), images()
    labels = torch.zeros(6, dtype=torch.int64)
    threat = ThreatModel("linf", 0.01)
    attack = PGD(steps=3, restarts=2, targeted=True, target_classes=3)
    result = run_attack(attack, model, data, labels, threat, seed=0)
    assert (result.forwards, result.gradients) == (6 * (1 + 3 * 2 * 4), 6 * 3 * 2 * 3)
    trace = attack.candidates(model, Batch(data, labels), threat, Stream(0, "test")).trace
    assert trace is not None
    assert trace.shape == (24, 6)
    # More targets than wrong classes: each of the four once.
    everything = run_attack(PGD(steps=3, targeted=True), model, data, labels, threat, seed=0)
    assert everything.forwards == 6 * (1 + 4 * 4)


def test_strongest_goes_on_where_first_stops() -> None:
    model, threat = Linear(torch.tensor([0.5, 0.0, -9])), ThreatModel("linf", 0.1)
    labels = torch.zeros(6, dtype=torch.int64)
    first = margin(model(proposed(PGD(), model, threat)), labels)
    strongest = margin(model(proposed(PGD(keep="strongest"), model, threat)), labels)
    assert (first > 0).all()
    assert (strongest > 1.5 * first).all()


@pytest.mark.parametrize("options", ["loss=gap,momentum=0.75", "targeted=true,loss=dlr,restarts=2", "eot=3"])
def test_same_seed_same_bytes(options: str) -> None:
    attack = parse_attack(f"pgd({options})")
    assert isinstance(attack, PGD)
    assert parse_attack(attack.name) == attack
    model, threat = Linear(rivals()), ThreatModel("l2", 0.3)
    one, two, other = (proposed(attack, model, threat, seed) for seed in (0, 0, 1))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_images_that_break_the_arithmetic_spare_the_others() -> None:
    class Fragile(Linear):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return logits * torch.tensor([torch.nan] + [1.0] * (len(images) - 1))[:, None]

    for norm in NORMS:
        threat = ThreatModel(norm, EPSILON[norm])
        found = proposed(PGD(loss="margin", momentum=1, random_start=False), Fragile(rivals()), threat)
        sound = proposed(PGD(loss="margin", momentum=1, random_start=False), Linear(rivals()), threat)
        assert found.isfinite().all()
        assert torch.equal(found[1:], sound[1:])


def test_too_few_classes_are_named() -> None:
    with pytest.raises(ReinforcedError, match="loss dlr: needs 3 classes, the model has 2; use loss=margin"):
        proposed(PGD(loss="dlr"), Linear(torch.tensor([1.0, 0])), ThreatModel("linf", 0.1))
