from __future__ import annotations

from collections.abc import Callable

import pytest

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.randomness import Randomness


@pytest.mark.parametrize("name", ["plain", "scaled", "levels"])
def test_a_deterministic_model_is_still(case_for: Callable[..., Case], name: str) -> None:
    found = Randomness().measure(case_for(name))
    assert found.fired is False
    assert (found.figures["flips"], found.figures["cosine"]) == (0.0, 1.0)


@pytest.mark.parametrize("name", ["noise", "dropout"])
def test_averaging_breaks_what_one_pass_does_not(case_for: Callable[..., Case], name: str) -> None:
    case = case_for(name, images=24)
    found = Randomness().measure(case)
    assert (found.fired, found.grade) == (True, "witness")
    assert len(found.witnesses) >= 4
    assert set(found.witnesses) == set(case.examples)
    assert set(found.remedies) == {"ensemble", "bpda", "randomness"}


def test_noise_in_the_gradients_alone_is_seen(case_for: Callable[..., Case]) -> None:
    import torch
    from torch import Tensor, nn

    class NoisyBackward(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.requires_grad:
                x = x.clone()
                x.register_hook(torch.randn_like)  # type: ignore[no-untyped-call]
            return x.flatten(1).mean(1, keepdim=True) * torch.linspace(-1, 1, 10)

    data = (torch.rand(8, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.full((8,), 9))
    found = Randomness().measure(case_for(NoisyBackward().eval(), data=data))
    assert found.fired is True
    assert found.figures["flips"] == 0
    assert float(found.figures["cosine"] or 0) < 0.5
