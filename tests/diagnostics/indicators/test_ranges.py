"""No indicator leaves the range that it is said to have."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.measure import FIGURES, RANGES, measure


class Waves(nn.Module):
    """Logits whose gradients turn about over less than a step."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.slope = nn.Parameter(torch.randn(12, 3, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, 2, 2) -> (N, 3)."""
        return self.scale * torch.sin(300 * images.flatten(1) @ self.slope)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("threat", ["l2:1", "linf:8/255"])
def test_values_stay_in_range(scale: float, threat: str) -> None:
    images = torch.rand(32, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    labels = torch.arange(32) % 3
    found = measure(Waves(scale), images, labels, ThreatModel.parse(threat), steps=5)
    assert {one.name for one in found.indicators} == set(FIGURES)
    assert set(RANGES) < {*FIGURES, *(figure for own in FIGURES.values() for figure in own)}
    for one in found.indicators:
        known = {one.name: one.values[~one.values.isnan()]}
        known |= {name: torch.tensor([figure]) for name, figure in one.figures.items()}
        for name, values in known.items():
            low, high = RANGES.get(name, (-torch.inf, torch.inf))
            assert len(values), name
            assert low - 1e-9 <= values.min() <= values.max() <= high + 1e-9, name
    assert found.entropy.bits.min() >= 0
