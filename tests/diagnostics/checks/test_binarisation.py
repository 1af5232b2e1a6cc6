from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from reinforced.diagnostics.binarised import Binarised, build, groups
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.binarisation import Binarisation
from reinforced.diagnostics.readout import read_out
from reinforced.streams import Stream

SMALL = Binarisation(images=24, inner=99)


@pytest.mark.parametrize("name", ["plain", "pgd"])
def test_sound_models_pass(case_for: Callable[..., Case], name: str) -> None:
    found = SMALL.measure(case_for(name))
    assert found.fired is False
    assert found.figures["pgd"] == 1.0
    assert float(found.figures["random"] or 0) < 0.2


@pytest.mark.parametrize("name", ["dead", "levels", "winners"])
def test_masked_gradients_fail(case_for: Callable[..., Case], name: str) -> None:
    found = SMALL.measure(case_for(name))
    assert (found.fired, found.grade) == (True, "failed control")
    assert float(found.figures["pgd"] or 0) < 0.5


def test_only_the_loss_is_to_blame_where_logits_are_large(case_for: Callable[..., Case]) -> None:
    found = SMALL.measure(case_for("scaled"))
    assert float(found.figures["pgd"] or 0) < 0.5
    assert found.figures["pgd(steps=100,loss=margin)"] == 1.0
    # Gradients lead there, only the claimed attack does not follow: what it misses is for witnesses to say.
    assert (found.fired, found.grade) == (True, "heuristic")


def test_balls_may_meet(case_for: Callable[..., Case]) -> None:
    case = case_for("plain", "pgd@l2:1.5", images=40)
    assert len(groups(case.images, case.threat)) > 1
    assert SMALL.measure(case).fired is False


def test_without_a_read_out_the_logits_serve(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module]
) -> None:
    class Plane(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            plain = model_named("plain")
            assert isinstance(plain, nn.Sequential)
            head = plain[6]
            assert isinstance(head, nn.Linear)
            self.body, self.weight, self.bias = plain[:6], head.weight, head.bias

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(self.body(x), self.weight, self.bias)

    found = SMALL.measure(case_for(Plane().eval()))
    assert found.fired is False
    assert found.figures["features"] == "the model's logits"


@pytest.mark.parametrize("gate", ["drawn", "off the images"])
def test_a_network_that_is_not_always_asked_has_no_read_out(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module], gate: str
) -> None:
    class Choosing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = model_named("plain"), model_named("pgd")

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            steps = x * 255
            on_grid = bool((steps - steps.round()).abs().max() < 1e-3)
            one = bool(torch.rand(()) < 0.5) if gate == "drawn" else on_grid
            logits: torch.Tensor = (self.one if one else self.other)(x)
            return logits

    model = Choosing().eval()
    images = case_for("plain", images=24).images
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        assert read_out(model, images[:4], 10) is None
    if gate != "drawn":
        found = SMALL.measure(case_for(model))
        assert "failed under this check" not in found.message


def test_a_problem_has_the_solution_it_claims(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module]
) -> None:
    case, model = case_for("scaled"), model_named("scaled")
    x, y = case.images[:6], case.labels[:6]
    with torch.no_grad():
        head = read_out(model, x, 10)
        assert isinstance(head, nn.Linear)
        made = build(model, x, y, case.threat, Stream(0, "test"), head=head, inner=50, candidates=5)
        binarised = Binarised(model, head, case.threat, made)
        assert made.solved.all()
        assert not case.threat.excess(made.solutions, x).any()
        assert (binarised(made.solutions).argmax(1) != y).all()
        # On the image itself it says what the model says, wrappers and all.
        assert torch.allclose(binarised(x), model(x), rtol=1e-3)
    assert not head._forward_hooks


def test_what_cannot_be_tested(case_for: Callable[..., Case]) -> None:
    assert SMALL.measure(case_for("vote")).fired is None
    few = SMALL.measure(case_for("plain", images=8))
    assert few.fired is None
    assert "8" in few.message
    assert not Binarisation().runs_in("quick")
