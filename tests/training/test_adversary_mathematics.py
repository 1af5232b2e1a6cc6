"""The mathematics of the training adversaries: closed forms, limits, and what surrounds an update."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from pydantic import ValidationError
from torch import Tensor, nn

from reinforced.models import build
from reinforced.objectives import PPO, AnyObjective, CrossEntropy, ExpectedPG, Reinforce
from reinforced.streams import Stream
from reinforced.training.adversaries import (
    AWP,
    FGSM,
    MART,
    PGD,
    TRADES,
    AnyAdversary,
    Free,
    NoAdversary,
    Trainee,
)
from reinforced.training.recipe import Phase
from reinforced.training.step import Stepper, trainee_of


def data() -> tuple[Tensor, Tensor]:
    images = torch.rand(32, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return (1.25 * images - 0.125).clamp(0, 1), torch.arange(32) % 2


class Linear(nn.Module):
    """Two classes, ``logits[1] - logits[0] = w . x``: the sign of every input gradient is known."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(192, generator=torch.Generator().manual_seed(2)))
        self.norm = nn.BatchNorm1d(2) if norm else nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        score = images.flatten(1) @ self.w
        logits: Tensor = self.norm(torch.stack([-score, score], dim=1) / 2)
        return logits


def crafted(adversary: AnyAdversary, model: nn.Module, objective: AnyObjective | None = None) -> Tensor:
    views = adversary.views(
        Trainee(model, model), *data(), objective or CrossEntropy(), Stream(0, "adversary"), {}
    )
    return views[-1].images.detach()


def away() -> Tensor:
    """(32, 3, 8, 8): the sign of the steepest ascent for each image of the linear model."""
    return (1 - 2 * data()[1]).view(-1, 1, 1, 1) * Linear().w.detach().sign().view(1, 3, 8, 8)


@pytest.mark.parametrize(
    "adversary",
    [
        FGSM(epsilon=0.05),
        FGSM(epsilon=0.05, clean_weight=0),
        FGSM(epsilon=0.05, craft="margin"),
        FGSM(epsilon=0.05, craft="expected_pg"),
        PGD(epsilon=0.05, steps=4),
        MART(epsilon=0.05, steps=12),
    ],
    ids=str,
)
def test_the_optimum_on_a_linear_model_is_the_closed_form(adversary: AnyAdversary) -> None:
    expected = (data()[0] + 0.05 * away()).clamp(0, 1)
    assert torch.allclose(crafted(adversary, Linear()), expected, atol=1e-6)


def test_without_clipping_the_closed_form_leaves_the_box() -> None:
    found = crafted(FGSM(epsilon=0.05, clip=False), Linear())
    assert torch.allclose(found, data()[0] + 0.05 * away(), atol=1e-6)
    assert found.min() < 0


def test_the_l2_optimum_on_a_linear_model() -> None:
    found = crafted(PGD(norm="l2", epsilon=0.5, steps=20, step=0.2, clip=False), Linear())
    unit = Linear().w.detach() / Linear().w.detach().norm()
    expected = data()[0] + 0.5 * (1 - 2 * data()[1]).view(-1, 1, 1, 1) * unit.view(1, 3, 8, 8)
    assert torch.allclose(found, expected, atol=2e-3)


def moved(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Which images FGSM moved on Reinforce's sampled loss, and which earned their reward."""
    images, labels = data()
    objective = Reinforce()
    rollout = objective.rollout(model(images), labels, Stream(0, "adversary"))
    found = crafted(FGSM(craft="sampled"), model, objective)
    return (found != images).flatten(1).any(1), rollout.rewards[0] == 1


def test_sampled_crafting_moves_only_the_images_that_earned_a_reward() -> None:
    changed, earned = moved(Linear())
    assert torch.equal(changed, earned)
    assert 0 < earned.sum() < 32


def test_batch_norm_in_train_mode_lets_sampled_crafting_move_every_image() -> None:
    """The batch's statistics carry the other images' losses, and a sign has no small values."""
    changed, earned = moved(Linear(norm=True))
    assert changed.all()
    assert not earned.all()


def trained(adversary: AnyAdversary, objective: AnyObjective | None = None, **settings: Any) -> nn.Module:
    """``tiny`` after one step, its gradients still on it."""
    torch.manual_seed(0)
    model = build("tiny", shape=(3, 8, 8), classes=10).train()
    phase = Phase(epochs=1, adversary=adversary, objective=objective or CrossEntropy(), **settings)
    accelerator = Accelerator(cpu=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    streams = {name: Stream(0, name) for name in ("exploration", "adversary", "regulariser")}
    stepper = Stepper(
        trainee_of(model, accelerator, "float32"), phase, optimizer, accelerator, streams, {}, None
    )
    torch.manual_seed(5)
    stepper.step(*data(), phase.objective)
    return model


@pytest.mark.parametrize("objective", [CrossEntropy(), ExpectedPG(), Reinforce(exploration=0.1)], ids=str)
@pytest.mark.parametrize(
    "adversary",
    [
        TRADES(beta=0, steps=2, step=0.02),
        TRADES(beta=0, steps=2, step=0.02, mode="train"),
        PGD(epsilon=0, steps=2),
        PGD(epsilon=0, steps=2, norm="l2"),
        AWP(inner=NoAdversary(), gamma=0),
    ],
    ids=str,
)
def test_an_adversary_without_power_gives_nones_gradient_exactly(
    adversary: AnyAdversary, objective: AnyObjective
) -> None:
    plain = dict(trained(NoAdversary(), objective).named_parameters())
    for name, weight in trained(adversary, objective).named_parameters():
        assert weight.grad is not None
        assert torch.equal(weight.grad, plain[name].grad), name  # type: ignore[arg-type]
        assert torch.equal(weight, plain[name]), name


def test_awp_takes_the_gradient_uphill_and_steps_from_the_weights_it_found() -> None:
    class Bowl(nn.Module):
        """A loss whose gradient is known: logits w and -w, for every image."""

        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.tensor([[1.0]]))

        def forward(self, images: Tensor) -> Tensor:
            return torch.cat([self.w, -self.w], dim=1).expand(len(images), 2)

    model, gamma = Bowl(), 0.5
    images, labels = data()[0], torch.zeros(32, dtype=torch.int64)
    phase = Phase(epochs=1, adversary=AWP(inner=NoAdversary(), gamma=gamma))
    accelerator = Accelerator(cpu=True)
    stepper = Stepper(
        trainee_of(model, accelerator, "float32"),
        phase,
        torch.optim.SGD(model.parameters(), lr=0.1),
        accelerator,
        {name: Stream(0, name) for name in ("exploration", "adversary", "regulariser")},
        {},
        None,
    )
    stepper.step(images, labels, phase.objective)
    # CE = log(1 + exp(-2w)) falls with w, so uphill is to lower w: by gamma * |w|, to 0.5.
    uphill = -2 / (1 + torch.tensor(2 * 0.5).exp())
    assert model.w.grad is not None
    assert torch.allclose(model.w.grad, uphill.view(1, 1))
    assert torch.allclose(model.w.detach(), 1 - 0.1 * uphill.view(1, 1))


def test_free_keeps_its_perturbation_inside_the_ball_from_batch_to_batch() -> None:
    model = Linear()
    adversary = Free(epsilon=0.05, minibatch_replays=3)
    memory: dict[str, Tensor] = {}
    images, labels = data()
    for expected in (0.0, 0.05, 0.05):
        (view,) = adversary.views(
            Trainee(model, model), images, labels, CrossEntropy(), Stream(0, "adversary"), memory
        )
        assert (view.images - images).abs().max() <= expected + 1e-6
        torch.nn.functional.cross_entropy(model(view.images), labels).backward()  # type: ignore[no-untyped-call]
        adversary.learn((view,), memory)
    assert set(memory) == {"free.delta"}
    assert torch.allclose(images + memory["free.delta"], (images + 0.05 * away()).clamp(0, 1), atol=1e-6)


def test_trades_adds_beta_times_the_divergence() -> None:
    clean = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(6) % 4
    terms = TRADES(beta=3).loss((clean, found), labels, lambda _, z: CrossEntropy().loss(z, labels, None))
    p, q = torch.softmax(clean, 1), torch.softmax(found, 1)
    divergence = (p * (p / q).log()).sum(1).mean()
    expected = torch.nn.functional.cross_entropy(clean, labels) + 3 * divergence
    assert torch.allclose(terms.loss, expected)
    assert torch.allclose(terms.metrics["kl"], divergence)


def test_mart_is_its_papers_loss() -> None:
    clean = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    labels = torch.arange(6) % 4
    terms = MART(beta=2).loss((clean, found), labels, lambda _, z: CrossEntropy().loss(z, labels, None))
    p, q = torch.softmax(clean, 1), torch.softmax(found, 1)
    rows = torch.arange(6)
    others = q.clone()
    others[rows, labels] = 0
    boosted = -(q[rows, labels].log() + (1 - others.amax(1)).log())
    divergence = (p * (p / q).log()).sum(1) * (1 - p[rows, labels])
    assert torch.allclose(terms.loss, (boosted + 2 * divergence).mean())


def test_mart_is_finite_where_the_wrong_class_is_certain() -> None:
    logits = torch.tensor([[0.0, 200.0]], requires_grad=True)
    labels = torch.tensor([0])
    terms = MART().loss((logits, logits), labels, lambda _, z: CrossEntropy().loss(z, labels, None))
    (gradient,) = torch.autograd.grad(terms.loss, logits)
    assert terms.loss.isfinite()
    assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("objective", "adversary", "reason"),
    [
        (ExpectedPG(), MART(), "mart brings its own loss"),
        (CrossEntropy(label_smoothing=0.1), MART(), "mart brings its own loss"),
        (Reinforce(), AWP(inner=MART()), "mart brings its own loss"),
        (PPO(updates=2), Free(), "both repeat updates"),
        (PPO(updates=2), AWP(), "a single update"),
    ],
    ids=str,
)
def test_combinations_without_meaning_give_their_reason(
    objective: AnyObjective, adversary: AnyAdversary, reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        Phase(epochs=1, objective=objective, adversary=adversary)


def test_a_single_step_that_cannot_reach_epsilon_is_refused() -> None:
    with pytest.raises(ValidationError, match="cannot reach"):
        FGSM(epsilon=0.1, step=0.05)


@pytest.mark.parametrize("kind", [PGD, TRADES, MART])
def test_steps_that_cannot_reach_the_border_are_refused(kind: type[PGD] | type[TRADES] | type[MART]) -> None:
    with pytest.raises(ValidationError, match=r"steps=3 of 0.007 cannot reach epsilon 0.15; give step=0.05"):
        kind(epsilon=0.15, steps=3, step=0.007, start="none")
    assert kind(epsilon=0.15, steps=3, step=0.05, start="none").reach == 0.15
    assert kind(epsilon=0.15, steps=3, step=0.007, start="uniform").reach == pytest.approx(0.021)
