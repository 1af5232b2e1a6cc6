from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.unbounded import Unbounded


@pytest.mark.parametrize("name", ["plain", "pgd", "scaled"])
def test_sound_gradients_lead_anywhere(case_for: Callable[..., Case], name: str) -> None:
    found = Unbounded().measure(case_for(name))
    assert found.fired is False
    assert found.figures["left"] == 0


@pytest.mark.parametrize("name", ["dead", "levels"])
def test_lost_gradients_lead_nowhere(case_for: Callable[..., Case], name: str) -> None:
    found = Unbounded().measure(case_for(name))
    assert (found.fired, found.grade, found.witnesses) == (True, "failed control", ())


def test_a_constant_model_is_a_failed_control(case_for: Callable[..., Case]) -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 3 * torch.eye(2)[[0]] + 0 * x.flatten(1)[:, :2]

    data = (torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.zeros(8).long())
    found = Unbounded().measure(case_for(Constant().eval(), data=data))
    assert found.grade == "failed control"
    assert "one class for all 8 images" in found.message
