"""Autograd against central differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.checks.finite_differences import FiniteDifferences
from tests.diagnostics.checks.defences import Dead, Levels, Noisy, case_of, model_of


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return (x * 7).round() / 7

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]


class Straight(nn.Module):
    """Eight grey levels with the gradient of the identity."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _Straight.apply(x)
        return found


class _Flipped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].flip(-1)


class Flipped(nn.Module):
    """The identity, with the gradient of the mirrored image."""

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _Flipped.apply(x)
        return found


class Fixed(nn.Module):
    """A network that a float64 copy cannot run."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        logits: Tensor = self.model(x)
        return logits


class Half(nn.Module):
    """A network in bfloat16 with float32 logits, so that no float64 copy of it is one."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            logits: Tensor = self.model(x)
        return logits.float()


class HalfBody(nn.Module):
    """Features in bfloat16, a read-out in float32: its logits themselves are not coarse."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        assert isinstance(model, nn.Sequential)
        self.body, self.head = model[:-1], model[-1]

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            features: Tensor = self.body(x)
        logits: Tensor = self.head(features.float())
        return logits


@pytest.mark.parametrize("claim", ["fgsm@linf:0.15", "fgsm@l2:1.0"])
@pytest.mark.parametrize("name", ["plain", "smoothed", "pgd", "trades"])
def test_honest_gradients_agree(name: str, claim: str) -> None:
    finding = FiniteDifferences().measure(case_of(model_of(name), claim))
    assert finding.fired is False
    assert finding.figures["float64"] == 1
    assert float(str(finding.figures["small"])) < 0.05
    assert float(str(finding.figures["large"])) < 0.3


def test_a_linear_model_agrees_to_rounding_at_any_step() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    finding = FiniteDifferences(large=1.0).measure(case_of(model, "fgsm@linf:0.001"))
    assert float(str(finding.figures["small"])) < 1e-6
    assert float(str(finding.figures["large"])) < 1e-6


def test_float32_will_do_where_float64_will_not() -> None:
    finding = FiniteDifferences().measure(case_of(Fixed(model_of("plain")).eval(), "fgsm@linf:0.15"))
    assert finding.fired is False
    assert finding.figures["float64"] == 0
    assert float(str(finding.figures["small"])) < 0.05


@pytest.mark.parametrize(
    ("front", "step"),
    [(Dead, "small"), (Dead, "large"), (Levels, "large"), (Straight, "small"), (Flipped, "small")],
)
def test_gradients_of_another_function_are_a_mechanism(front: type[nn.Module], step: str) -> None:
    model = nn.Sequential(front(), model_of("plain")).eval()
    finding = FiniteDifferences().measure(case_of(model, "fgsm@linf:0.15"))
    assert finding.grade == "mechanism"
    assert float(str(finding.figures[step])) > float(str(finding.figures[f"{step}_error"]))
    assert "black_box" in finding.remedies


@pytest.mark.parametrize("claim", ["fgsm@linf:0.15", "fgsm@linf:0.02", "fgsm@l2:1.0"])
@pytest.mark.parametrize("half", [Half, HalfBody])
def test_the_step_outgrows_half_precision(half: type[nn.Module], claim: str) -> None:
    finding = FiniteDifferences().measure(case_of(half(model_of("pgd")).eval(), claim))
    assert finding.fired is False
    assert finding.figures["float64"] == 0
    assert 0.001 < float(str(finding.figures["step"])) <= 0.25
    assert float(str(finding.figures["small"])) < 0.2


@pytest.mark.parametrize("wrapped", [Fixed, Half])
@pytest.mark.parametrize("front", [Dead, Levels, Straight, Flipped])
def test_without_a_copy_they_are_still_a_mechanism(
    front: type[nn.Module], wrapped: Callable[[nn.Module], nn.Module]
) -> None:
    model = wrapped(nn.Sequential(front(), model_of("plain"))).eval()
    finding = FiniteDifferences().measure(case_of(model, "fgsm@linf:0.15"))
    assert finding.figures["float64"] == 0
    assert finding.grade == "mechanism"


def test_what_rounding_drowns_cannot_be_differenced() -> None:
    finding = FiniteDifferences().measure(case_of(Half(model_of("plain")).eval(), "fgsm@linf:0.0001"))
    assert finding.fired is None
    assert "rounding" in finding.message


def test_a_randomised_model_cannot_be_differenced() -> None:
    assert FiniteDifferences().measure(case_of(Noisy(model_of("plain")).eval(), images=16)).fired is None
