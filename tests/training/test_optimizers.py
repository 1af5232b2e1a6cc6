from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from reinforced.training.optimizers import SGD, AdamW, AnyOptimizer, RMSprop
from reinforced.training.recipe import Recipe

Optimizer = AdamW | SGD | RMSprop
GRADIENTS = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
START = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)


def followed(build: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]) -> Tensor:
    """Where three given gradients lead."""
    weight = nn.Parameter(START.clone())
    optimizer = build([weight])
    for gradient in GRADIENTS:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (AdamW(), lambda p: torch.optim.AdamW(p, lr=1e-3, fused=False)),
        (
            AdamW(lr=0.1, weight_decay=0.3, betas=(0.5, 0.7), eps=1e-3),
            lambda p: torch.optim.AdamW(p, 0.1, (0.5, 0.7), 1e-3, 0.3, fused=False),
        ),
        (SGD(), lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=5e-4, fused=False)),
        (SGD(nesterov=True), lambda p: torch.optim.SGD(p, 0.1, 0.9, weight_decay=5e-4, nesterov=True)),
        (SGD(momentum=0, weight_decay=0), lambda p: torch.optim.SGD(p, 0.1, fused=False)),
        (RMSprop(), lambda p: torch.optim.RMSprop(p, 1e-3, 0.9, 1e-7)),
        (
            RMSprop(momentum=0.5, weight_decay=0.1),
            lambda p: torch.optim.RMSprop(p, 1e-3, 0.9, 1e-7, 0.1, momentum=0.5),
        ),
    ],
)
def test_is_torchs_own(ours: Optimizer, theirs: Callable[[Any], torch.optim.Optimizer]) -> None:
    assert torch.allclose(followed(ours.build), followed(theirs), rtol=1e-12, atol=0)


def test_every_kind_is_compared() -> None:
    assert set(get_args(get_args(AnyOptimizer)[0])) == {AdamW, SGD, RMSprop}


def test_rmsprop_is_keras() -> None:
    """a <- rho a + (1 - rho) g^2; w <- w - lr g / (sqrt(a) + eps), with Keras' defaults."""
    weight, square = START.clone(), torch.zeros(4, dtype=torch.float64)
    for gradient in GRADIENTS:
        square = 0.9 * square + 0.1 * gradient**2
        weight = weight - 1e-3 * gradient / (square.sqrt() + 1e-7)
    assert torch.allclose(followed(RMSprop().build), weight, rtol=1e-12, atol=0)


def test_inverse_time_is_keras_decay_through_a_run(
    make: Callable[..., Recipe], fit: Callable[..., Any], figures: Callable[..., Any], tmp_path: Path
) -> None:
    """The rate logged is that of an epoch's last update; updates are counted from the phase's first."""
    decayed = {"epochs": 2, "schedule": {"kind": "inverse_time", "decay": 0.25}}
    recipe = make(optimizer={"kind": "rmsprop", "lr": 0.01}, phases=[decayed, {**decayed, "lr": 0.5}])
    fit(recipe, tmp_path / "run")
    rates = [row["lr"] for row in figures(tmp_path / "run")]
    assert rates == pytest.approx([base / (1 + 0.25 * t) for base in (0.01, 0.5) for t in (2, 5)], rel=1e-12)
