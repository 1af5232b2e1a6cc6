from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.bridges import bridges
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.bpda import BPDA
from reinforced.diagnostics.standin import Bridged, Smoothed


@pytest.mark.parametrize("name", ["plain", "pgd"])
def test_a_sound_model_has_no_such_part(case_for: Callable[..., Case], name: str) -> None:
    found = BPDA().measure(case_for(name))
    assert found.fired is False
    assert found.figures["parts"] == ""


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("dead", "module '0'"),
        ("levels", "module '0'"),
        ("in_code", "the code before module 'model'"),
        ("vote", "the model's own code"),
    ],
)
def test_lost_gradients_are_bridged(case_for: Callable[..., Case], name: str, part: str) -> None:
    case = case_for(name)
    found = BPDA().measure(case)
    assert (found.fired, found.grade) == (True, "witness")
    assert found.figures["parts"] == part
    assert len(found.witnesses) > 0.4 * int(case.claimed.sum())
    assert set(found.witnesses) == set(case.examples)
    assert found.black_box is False


def test_jumps_are_averaged(case_for: Callable[..., Case]) -> None:
    found = BPDA().measure(case_for("winners"))
    assert found.grade == "witness"
    assert "averaged" in found.figures


def test_the_author_s_own_stand_in_is_attacked(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module]
) -> None:
    class Opaque(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model_named("plain")

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                logits: Tensor = self.network(x)
            return logits

        def differentiable(self, x: Tensor) -> Tensor:
            logits: Tensor = self.network(x)
            return logits

    found = BPDA().measure(case_for(Opaque().eval()))
    assert found.grade == "witness"
    assert int(found.figures["differentiable"] or 0) > 20


def test_a_stand_in_says_what_the_model_says(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module]
) -> None:
    case, model = case_for("levels"), model_named("levels")
    chosen, _ = bridges(model, case.images[:8], (case.images[:8] + 0.1).clamp(0, 1), 0)
    assert [bridge.lost for bridge in chosen] == [True]
    x = case.images[:4].clone().requires_grad_()
    for stand_in in (Bridged(model, chosen), Smoothed(model, case.threat, 0.25)):
        assert torch.equal(stand_in(x), model(x))
    (gradient,) = torch.autograd.grad(Bridged(model, chosen)(x).sum(), x)
    assert gradient.any()
    assert not any(module._forward_hooks for module in model.modules())


def test_a_false_gradient_is_bridged(
    model_named: Callable[[str], nn.Module], case_for: Callable[..., Case]
) -> None:
    class Reverse(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            return -gradient

    class Reversed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = Reverse.apply(x)
            return found

    found = BPDA().measure(case_for(nn.Sequential(Reversed(), model_named("plain")).eval()))
    assert found.figures["parts"] == "module '0'"
    assert int(found.figures["identity"] or 0) > 20


def test_a_model_that_bears_no_bridge_is_still_attacked(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module]
) -> None:
    """Its backward pass runs a network of its own, from whose input a bridge within would cut it off."""

    class Misdirecting(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor, model: nn.Module, other: nn.Module) -> Tensor:
            ctx.x = x.detach().requires_grad_()
            with torch.enable_grad():
                ctx.out = other(ctx.x)
            logits: Tensor = model(x)
            return logits

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
            return *torch.autograd.grad(ctx.out, ctx.x, gradient, retain_graph=True), None, None

    class Misdirected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.other = model_named("plain"), model_named("pgd")

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = Misdirecting.apply(x, self.model, self.other)
            return out

    found = BPDA().measure(case_for(Misdirected().eval()))
    assert found.figures["parts"] != ""
    assert "identity" not in found.figures
    assert "averaged" in found.figures
