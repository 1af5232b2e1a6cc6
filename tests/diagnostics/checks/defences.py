"""Digits models for the checks' tests: honest ones, and defences that only mask gradients."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import random_start
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.data import load
from reinforced.data.dataset import Split, to_float
from reinforced.diagnostics.case import Budget, Case
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.evaluation.preflight import preflight
from reinforced.models.tiny import tiny
from reinforced.streams import Stream

LINF = ThreatModel("linf", 0.15)


@cache
def digits(split: str) -> tuple[Tensor, Tensor]:
    """[0,1] images (N, 1, 8, 8) and labels."""
    part: Split = getattr(load("digits"), split)
    images, labels = part.batch(torch.arange(len(part)))
    return to_float(images).contiguous(), labels


def trained(
    kind: str = "plain", seed: int = 0, *, body: Callable[[], nn.Module] | None = None, epochs: int = 12
) -> nn.Module:
    """A tiny network in eval mode, trained ``plain``, ``smoothed``, ``pgd`` or ``trades``."""
    images, labels = digits("train")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = body() if body else tiny((1, 8, 8), 10)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        stream = Stream(seed, "zoo")
        for _ in range(epochs):
            for rows in torch.split(stream.permutation(len(images)), 64):
                x, y = images[rows], labels[rows]
                loss = _loss(kind, model.train(), x, y, stream)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return model.eval()


def _loss(kind: str, model: nn.Module, x: Tensor, y: Tensor, stream: Stream) -> Tensor:
    if kind == "plain":
        return F.cross_entropy(model(x), y)
    if kind == "smoothed":
        return F.cross_entropy(model(x), y, label_smoothing=0.1)
    trades = kind == "trades"
    crafted = random_start(x, LINF, stream)
    clean = model(x).softmax(1).detach()
    for _ in range(4):
        crafted = crafted.detach().requires_grad_()
        logits = model(crafted)
        apart = (
            F.kl_div(logits.log_softmax(1), clean, reduction="batchmean")
            if trades
            else F.cross_entropy(logits, y)
        )
        (gradient,) = torch.autograd.grad(apart, crafted)
        crafted = LINF.project(crafted + 0.07 * gradient.sign(), x)
    crafted = crafted.detach()
    if not trades:
        return F.cross_entropy(model(crafted), y)
    logits = model(x)
    apart = F.kl_div(model(crafted).log_softmax(1), logits.softmax(1), reduction="batchmean")
    return F.cross_entropy(logits, y) + 6 * apart


class Noisy(nn.Module):
    """Gaussian noise on the images."""

    def __init__(self, model: nn.Module, sigma: float = 0.2) -> None:
        super().__init__()
        self.model, self.sigma = model, sigma

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x + self.sigma * torch.randn_like(x))
        return logits


class Scaled(nn.Module):
    """Logits times a constant."""

    def __init__(self, model: nn.Module, factor: float = 1000.0) -> None:
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return self.factor * logits


class _Dead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return torch.zeros_like(gradient)


class Dead(nn.Module):
    """The identity, without its gradient."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _Dead.apply(x)
        return found


class Levels(nn.Module):
    """Eight grey levels."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 7).round() / 7


class InCode(nn.Module):
    """Eight grey levels, and no module that does it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model((x * 7).round() / 7)
        return logits


class Winners(nn.Module):
    """Keeps the largest tenth of all activations of an image (Xiao et al. 2020)."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        count = max(1, flat.shape[1] // 10)
        least = flat.topk(count, dim=1).values[:, -1:]
        return torch.where(flat >= least, flat, 0.0).view_as(x)


class AlwaysDropout(nn.Module):
    """Dropout at inference too."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(x, 0.3, training=True)


class Vote(nn.Module):
    """The majority of several networks, one-hot."""

    def __init__(self, *members: nn.Module) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        votes = torch.stack([F.one_hot(member(x).argmax(1), 10) for member in self.members]).sum(0)
        return F.one_hot(votes.argmax(1), 10).float()


def winners_take_all() -> nn.Module:
    """The tiny network with k-winners-take-all in place of ReLU."""
    network = tiny((1, 8, 8), 10)
    assert isinstance(network, nn.Sequential)
    network[1], network[3] = Winners(), Winners()
    return network


def with_dropout() -> nn.Module:
    """The tiny network with dropout at inference before its read-out."""
    network = tiny((1, 8, 8), 10)
    assert isinstance(network, nn.Sequential)
    return nn.Sequential(*network[:6], AlwaysDropout(), network[6])


BUILD: dict[str, Callable[[], nn.Module]] = {
    "plain": trained,
    "smoothed": lambda: trained("smoothed"),
    "pgd": lambda: trained("pgd", epochs=4),
    "trades": lambda: trained("trades", epochs=4),
    "other": lambda: trained(seed=9),
    "noise": lambda: Noisy(model_of("plain")),
    "dropout": lambda: trained(body=with_dropout),
    "dead": lambda: nn.Sequential(Dead(), model_of("plain")).eval(),
    "levels": lambda: nn.Sequential(Levels(), model_of("plain")).eval(),
    "in_code": lambda: InCode(model_of("plain")).eval(),
    "winners": lambda: trained(body=winners_take_all),
    "vote": lambda: Vote(model_of("plain"), trained(seed=7), trained(seed=8)).eval(),
    "scaled": lambda: Scaled(model_of("plain")).eval(),
}


_MADE: dict[str, nn.Module] = {}


def model_of(name: str) -> nn.Module:
    """A model of :data:`BUILD`, made once."""
    if name not in _MADE:
        _MADE[name] = BUILD[name]().eval()
    return _MADE[name]


def case_of(
    model: nn.Module,
    claim: str = "pgd@linf:0.15",
    *,
    images: int = 48,
    data: tuple[Tensor, Tensor] | None = None,
    budget: Budget = "quick",
    **rest: Any,
) -> Case:
    """A case as a diagnosis builds it, on the first test images or on other ``data``."""
    x, y = data or digits("test")
    x, y = x[:images], y[:images]
    stated = Claim.parse(claim)
    checked = preflight(model, x, y, [])
    draws = 100 if checked.randomised else 1
    try:
        result = run_attack(parse_attack(stated.attack), model, x, y, stated.threat, seed=0, draws=draws)
        clean, claimed = result.clean_correct, result.robust
    except ReinforcedError:  # no gradient
        with torch.no_grad():
            clean = claimed = model(x).argmax(1) == y
    return Case(model, x, y, stated, clean, claimed, checked, budget=budget, **rest)


@pytest.fixture(scope="session")
def case_for() -> Callable[..., Case]:
    """:func:`case_of`, for a model or the name of one."""

    def build(model: nn.Module | str, claim: str = "pgd@linf:0.15", **rest: Any) -> Case:
        chosen = model_of(model) if isinstance(model, str) else model
        return case_of(chosen, claim, **rest)

    return build


@pytest.fixture(scope="session")
def model_named() -> Callable[[str], nn.Module]:
    """:func:`model_of`."""
    return model_of
