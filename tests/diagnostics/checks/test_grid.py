from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.grid import Grid, Rounded

Named = Callable[[str], nn.Module]


class OnGrid(nn.Module):
    """A plain network on 8-bit images, a robust one on all others."""

    def __init__(self, weak: nn.Module, robust: nn.Module) -> None:
        super().__init__()
        self.weak, self.robust = weak, robust

    def forward(self, x: Tensor) -> Tensor:
        steps = x * 255
        whole = (steps - steps.round()).abs().flatten(1).amax(1) < 1e-3
        return torch.where(whole[:, None], self.weak(x), self.robust(x))


def test_what_only_8_bit_images_break_is_found(case_for: Callable[..., Case], model_named: Named) -> None:
    case = case_for(OnGrid(model_named("plain"), model_named("pgd")).eval(), images=40)
    found = Grid().measure(case)
    assert (found.fired, found.grade) == (True, "witness")
    assert len(found.witnesses) >= int(case.claimed.sum()) // 2
    assert set(found.witnesses) == set(case.examples)
    for row, example in case.examples.items():
        steps = example * 255
        assert torch.allclose(steps, steps.round(), atol=1e-3)
        assert float((example - case.images[row]).abs().max()) <= case.threat.epsilon + 1e-6


def test_a_robust_network_stands_it_as_it_stands_pgd(case_for: Callable[..., Case]) -> None:
    case = case_for("pgd", "pgd(steps=50,loss=margin,restarts=2)@linf:0.15", images=40)
    found = Grid().measure(case)
    assert len(found.witnesses) <= 1


@pytest.mark.parametrize(
    ("threat", "scale", "said"),
    [("linf:0.15", 0.999, "not on the grid"), ("linf:0.003", 1.0, "no other image")],
)
def test_it_needs_a_grid_and_a_ball_with_room(
    case_for: Callable[..., Case], threat: str, scale: float, said: str
) -> None:
    case = case_for("plain", f"pgd@{threat}", images=24)
    case.images = case.images * scale
    found = Grid().measure(case)
    assert found.fired is None
    assert said in found.message


def test_rounding_stays_in_the_ball() -> None:
    images = torch.randint(0, 256, (4, 3, 5, 5)) / 255
    for threat in (ThreatModel("linf", 8 / 255), ThreatModel("linf", 0.07), ThreatModel("l2", 0.5)):
        ball = Grid()._inside(threat, images[0].numel())
        assert ball is not None
        moved = ball.project(images + 0.2 * torch.randn_like(images), images)
        rounded = Rounded(nn.Flatten(), 255).rounded(moved)
        assert bool((threat.distance(rounded, images) <= threat.epsilon + 1e-6).all())
        assert float(rounded.min()) >= 0
        assert float(rounded.max()) <= 1


def test_the_gradient_goes_straight_through() -> None:
    x = torch.rand(2, 1, 3, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(Rounded(nn.Flatten(), 255)(x).sum(), x)
    assert torch.equal(gradient, torch.ones_like(x))
