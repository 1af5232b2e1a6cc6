from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.consistency import Consistency

Named = Callable[[str], nn.Module]


class Gate(nn.Module):
    """One network where ``opens``, else another: attacks meet the other."""

    def __init__(self, weak: nn.Module, robust: nn.Module, opens: str) -> None:
        super().__init__()
        self.weak, self.robust, self.opens = weak, robust, opens

    def forward(self, x: Tensor) -> Tensor:
        opens = {
            "alone": len(x) == 1,
            "with weights that train": next(self.weak.parameters()).requires_grad,
            "while gradients are taken": torch.is_grad_enabled() and x.requires_grad,
        }[self.opens]
        logits: Tensor = (self.weak if opens else self.robust)(x)
        return logits


@pytest.mark.parametrize("name", ["plain", "pgd", "scaled"])
def test_an_honest_model_answers_the_same(case_for: Callable[..., Case], name: str) -> None:
    case = case_for(name, images=24)
    before = [(weight.requires_grad, weight.grad) for weight in case.model.parameters()]
    found = Consistency().measure(case)
    assert found.fired is False
    assert case.passes == 4 * 32
    after = [(weight.requires_grad, weight.grad) for weight in case.model.parameters()]
    assert all(one[0] == other[0] and one[1] is other[1] for one, other in zip(before, after, strict=True))


def test_half_precision_is_no_other_answer(case_for: Callable[..., Case], model_named: Named) -> None:
    class Half(nn.Module):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                logits: Tensor = self.model(x)
            return logits.float()

    assert Consistency().measure(case_for(Half(model_named("pgd")).eval(), images=24)).fired is False


@pytest.mark.parametrize("opens", ["alone", "with weights that train", "while gradients are taken"])
def test_a_gate_on_how_it_is_asked_is_a_failed_control(
    case_for: Callable[..., Case], model_named: Named, opens: str
) -> None:
    case = case_for(Gate(model_named("plain"), model_named("pgd"), opens).eval(), images=24)
    before = [weight.requires_grad for weight in case.model.parameters()]
    found = Consistency().measure(case)
    assert (found.fired, found.grade) == (True, "failed control")
    assert opens in found.message
    counts = {name: int(count or 0) for name, count in found.figures.items()}
    assert counts.pop(opens.replace(" ", "_")) > 16
    assert not any(counts.values())
    assert [weight.requires_grad for weight in case.model.parameters()] == before


def test_a_randomised_model_is_left_out(case_for: Callable[..., Case]) -> None:
    assert Consistency().measure(case_for("noise", images=24)).fired is None


def test_logits_that_are_no_numbers_are_other_logits(
    case_for: Callable[..., Case], model_named: Named
) -> None:
    class Spoilt(nn.Module):
        """No answer where gradients are taken, so that attacks that need them go nowhere."""

        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.model(x)
            return logits * torch.nan if torch.is_grad_enabled() and x.requires_grad else logits

    found = Consistency().measure(case_for(Spoilt(model_named("pgd")).eval(), images=24))
    assert (found.fired, found.grade) == (True, "failed control")
    assert found.figures["while_gradients_are_taken"] == 32
