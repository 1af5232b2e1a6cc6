"""Every objective with every adversary and every regulariser: it trains, or is refused with a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.component import Component
from reinforced.models import build
from reinforced.objectives import (
    GCE,
    PPO,
    AnyObjective,
    CrossEntropy,
    ExpectedPG,
    Interpolation,
    Reinforce,
    Truncated,
)
from reinforced.regularisers import (
    AnyRegulariser,
    GradientAlignment,
    InputGradient,
    Jacobian,
    LabelSmoothing,
    LogitNorm,
    SpectralNorm,
    SpectralPenalty,
)
from reinforced.streams import Stream
from reinforced.training.adversaries import (
    AWP,
    FGSM,
    MART,
    PGD,
    TRADES,
    AnyAdversary,
    Fast,
    Free,
    NoAdversary,
    Trainee,
)
from reinforced.training.recipe import Phase
from reinforced.training.step import Stepper, Update

LINF, L2, NO_BALL = ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5), ThreatModel("linf", 0)
OBJECTIVES: dict[str, AnyObjective] = {
    "cross_entropy": CrossEntropy(),
    "reinforce": Reinforce(exploration=0.1, samples=2, baseline="leave_one_out"),
    "expected_pg": ExpectedPG(),
    "ppo": PPO(updates=2),
    "gce": GCE(),
    "truncated": Truncated(),
    "interpolation": Interpolation(first=CrossEntropy(), second=Reinforce()),
    "interpolation-ppo": Interpolation(first=PPO(updates=2), second=PPO(updates=2, clip=0.1)),
}
ADVERSARIES: dict[str, tuple[AnyAdversary, ThreatModel]] = {
    "none": (NoAdversary(), NO_BALL),
    "fgsm": (FGSM(epsilon=8 / 255, craft="sampled"), LINF),
    "fast": (Fast(), LINF),
    "free": (Free(minibatch_replays=2), LINF),
    "pgd": (PGD(steps=2, norm="l2", epsilon=0.5, clean_weight=0.5), L2),
    "trades": (TRADES(steps=2, step=0.02, mode="train"), LINF),
    "mart": (MART(steps=2, step=0.02), LINF),
    "awp": (AWP(inner=PGD(steps=2)), LINF),
}
REGULARISERS: dict[str, tuple[AnyRegulariser, ...]] = {
    "plain": (),
    "input_gradient": (InputGradient(strength=0.1),),
    "jacobian": (Jacobian(),),
    "gradient_alignment": (GradientAlignment(),),
    "spectral_penalty": (SpectralPenalty(),),
    "spectral_norm": (SpectralNorm(),),
    "logit_norm": (LogitNorm(),),
    "label_smoothing": (LabelSmoothing(),),
    "all": (InputGradient(strength=0.1), Jacobian(), SpectralPenalty(), SpectralNorm(), LogitNorm()),
}
REFUSED = {
    *((objective, "mart") for objective in OBJECTIVES if objective != "cross_entropy"),
    *((objective, adversary) for objective in ("ppo", "interpolation-ppo") for adversary in ("free", "awp")),
}
ALLOWED = [(one, other) for one in OBJECTIVES for other in ADVERSARIES if (one, other) not in REFUSED]
SLACK = 1e-5  # rounding of image + perturbation in float32


def kinds(union: object) -> set[str]:
    """The kinds of a discriminated union, those of its nested unions included."""
    if isinstance(union, type) and issubclass(union, Component):
        return {union.model_fields["kind"].default}
    return {kind for part in get_args(union) for kind in kinds(part)}


def data() -> tuple[Tensor, Tensor]:
    images = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return (1.25 * images - 0.125).clamp(0, 1), torch.arange(8) % 3


class Watched(nn.Module):
    """A network, and the images it was trained on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images.detach().clone())
        logits: Tensor = self.network(images)
        return logits


@dataclass
class Bench:
    """A phase on ``tiny``, ready to step."""

    network: nn.Module
    watched: Watched
    phase: Phase
    stepper: Stepper
    optimizer_steps: int = 0

    @classmethod
    def of(cls, objective: str, adversary: str, regulariser: str) -> Bench:
        phase = Phase(
            epochs=1,
            objective=OBJECTIVES[objective],
            adversary=ADVERSARIES[adversary][0],
            regularisers=REGULARISERS[regulariser],
        )
        torch.manual_seed(0)
        network = build("tiny", shape=(1, 8, 8), classes=3).train()
        watched = Watched(network)
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        streams = {name: Stream(0, name) for name in ("exploration", "adversary", "regulariser")}
        stepper = Stepper(
            Trainee(watched, network), phase, optimizer, Accelerator(cpu=True), streams, {}, None
        )
        bench = cls(network, watched, phase, stepper)

        def count(*_: object) -> None:
            bench.optimizer_steps += 1

        optimizer.register_step_post_hook(count)
        return bench

    def step(self, progress: float, images: Tensor | None = None) -> Update:
        own, labels = data()
        return self.stepper.step(own if images is None else images, labels, self.phase.objective.at(progress))

    def weights(self) -> list[Tensor]:
        return [weight.detach().clone() for weight in self.network.parameters()]


def test_every_kind_is_in_the_tables() -> None:
    assert {objective.kind for objective in OBJECTIVES.values()} == kinds(AnyObjective)
    assert set(ADVERSARIES) == kinds(AnyAdversary)
    assert set(REGULARISERS) - {"plain", "all"} == kinds(AnyRegulariser)


@pytest.mark.parametrize("regulariser", REGULARISERS)
@pytest.mark.parametrize(("objective", "adversary"), ALLOWED)
def test_two_steps_train(objective: str, adversary: str, regulariser: str) -> None:
    """Finite, in ball and box, as many updates as are declared, and the same bytes a second time."""
    bench, again = (Bench.of(objective, adversary, regulariser) for _ in range(2))
    before = bench.weights()
    first, second = bench.step(0), bench.step(0.5)
    for done in (first, second):
        assert bool(done.finite)
        assert all(math.isfinite(float(value)) for value in done.sums.values())
    assert list(first.sums) == list(second.sums)
    assert set(first.sums) >= {"loss", "gradient_norm", *(part.kind for part in bench.phase.regularisers)}
    assert any(not torch.equal(old, new) for old, new in zip(before, bench.weights(), strict=True))
    made, images = bench.phase, data()[0]
    assert bench.optimizer_steps == 2 * made.objective.updates * made.adversary.replays
    threat = ADVERSARIES[adversary][1]
    for seen in bench.watched.seen:
        assert threat.distance(seen, images).max() <= threat.epsilon + SLACK
        assert 0 <= seen.min() <= seen.max() <= 1
    assert len(bench.watched.seen) == 2 * made.passes.forward
    sums = [again.step(0).sums, again.step(0.5).sums]
    assert all(torch.equal(old, new) for old, new in zip(again.weights(), bench.weights(), strict=True))
    for old, new in zip(sums, (first.sums, second.sums), strict=True):
        assert {name: float(value) for name, value in old.items()} == {
            name: float(value) for name, value in new.items()
        }


@pytest.mark.parametrize(("objective", "adversary"), sorted(REFUSED))
def test_what_has_no_meaning_is_refused_with_its_reason(objective: str, adversary: str) -> None:
    reason = ADVERSARIES[adversary][0].refuses(OBJECTIVES[objective])
    assert reason
    assert "\n" not in reason
    with pytest.raises(ValidationError) as caught:
        Bench.of(objective, adversary, "plain")
    assert reason in str(caught.value)


@pytest.mark.parametrize(("objective", "adversary"), ALLOWED)
def test_what_is_allowed_has_no_reason(objective: str, adversary: str) -> None:
    assert ADVERSARIES[adversary][0].refuses(OBJECTIVES[objective]) == ""


@pytest.mark.parametrize("regulariser", ["plain", "input_gradient", "spectral_penalty"])
@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_a_loss_that_is_not_finite_moves_nothing(adversary: str, regulariser: str) -> None:
    bench = Bench.of("cross_entropy", adversary, regulariser)
    before = bench.weights()
    images = data()[0]
    images[3, 0, 2, 2] = torch.nan
    assert not bool(bench.step(0, images).finite)
    assert bench.optimizer_steps == 0
    assert all(torch.equal(old, new) for old, new in zip(before, bench.weights(), strict=True))


@pytest.mark.parametrize("adversary", ["none", "fgsm"])
def test_ppo_repeats_none_of_its_updates_once_the_loss_is_not_finite(adversary: str) -> None:
    bench = Bench.of("ppo", adversary, "plain")
    before = bench.weights()
    assert not bool(bench.step(0, torch.full_like(data()[0], torch.nan)).finite)
    assert all(torch.equal(old, new) for old, new in zip(before, bench.weights(), strict=True))
