from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.epsilon_rising import EpsilonRising


class Wave(nn.Module):
    """One long step overshoots: the right class comes back further out."""

    def forward(self, x: Tensor) -> Tensor:
        score = torch.cos(2 * math.pi * (x.flatten(1).mean(1) - 0.5) / 0.4 + 0.3)
        return torch.stack([score, torch.zeros_like(score)], 1)


@pytest.mark.parametrize("name", ["plain", "pgd", "noise"])
def test_accuracy_falls_with_epsilon(case_for: Callable[..., Case], name: str) -> None:
    found = EpsilonRising().measure(case_for(name, images=24))
    assert found.fired is False


def test_a_rise_is_a_failed_control(case_for: Callable[..., Case]) -> None:
    case = case_for(
        Wave().eval(), "fgsm@linf:0.15", data=(torch.full((20, 1, 4, 4), 0.5), torch.zeros(20).long())
    )
    found = EpsilonRising().measure(case)
    assert (found.fired, found.grade) == (True, "failed control")
    assert found.figures["left_at_0.15"] == 0
    assert found.figures["left_at_0.3"] == 20


def test_a_dear_attack_is_replaced_and_its_witnesses_counted(case_for: Callable[..., Case]) -> None:
    case = case_for("scaled", "pgd(steps=60)@linf:0.15", images=24)
    found = EpsilonRising().measure(case)
    assert found.grade == "witness"
    assert set(found.witnesses) == set(case.examples)


def test_it_needs_what_the_attack_needs(case_for: Callable[..., Case]) -> None:
    assert EpsilonRising().measure(case_for("vote")).fired is None


@pytest.mark.parametrize("seed", range(3))
def test_an_honest_noisy_model_does_not_rise(case_for: Callable[..., Case], seed: int) -> None:
    """Its claim counts breaks by half of the draws; beside stricter counts fewer would seem left."""

    class Noisy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            score = 5 * (x.flatten(1).mean(1) - 0.5) + 0.6 * torch.randn(len(x), device=x.device)
            return torch.stack([score, -score], 1)

    generator = torch.Generator().manual_seed(seed)
    leads = 0.02 + torch.rand(64, 1, 1, 1, generator=generator) * 0.03
    data = ((0.5 + leads).expand(64, 1, 4, 4).contiguous(), torch.zeros(64).long())
    case = case_for(Noisy().eval(), "fgsm@linf:0.033", data=data, budget="standard")
    assert case.draws > 1
    assert EpsilonRising().measure(case).fired is False
