"""The penalties that only read logits, on known values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.regularisers import LabelSmoothing, LogitNorm, Regulariser
from reinforced.streams import Stream

LABELS = torch.tensor([0, 4, 2])
LOGITS = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def value(regulariser: Regulariser, logits: Tensor) -> Tensor:
    return regulariser.penalty(nn.Identity(), logits, LABELS, logits, Stream(0, "r"))


def test_logit_norm_is_the_mean_squared_length() -> None:
    logits = torch.tensor([[3.0, 4.0], [0, 0], [1, -1]])
    assert value(LogitNorm(strength=0.5), logits).item() == pytest.approx(0.5 * (25 + 0 + 2) / 3)


@pytest.mark.parametrize("strength", [1 / 9, 0.5, 3])
def test_with_cross_entropy_it_is_label_smoothing(strength: float) -> None:
    smoothing = strength / (1 + strength)
    total = F.cross_entropy(LOGITS, LABELS) + value(LabelSmoothing(strength=strength), LOGITS)
    smoothed = F.cross_entropy(LOGITS, LABELS, label_smoothing=smoothing)
    assert torch.allclose(total, (1 + strength) * smoothed, rtol=1e-12)


def test_the_default_smooths_by_a_tenth() -> None:
    strength = LabelSmoothing().strength
    assert strength / (1 + strength) == pytest.approx(0.1)


def test_label_smoothing_is_least_for_the_uniform_distribution() -> None:
    assert value(LabelSmoothing(strength=1), torch.zeros(3, 5)).item() == pytest.approx(math.log(5))
    assert value(LabelSmoothing(strength=1), LOGITS) > math.log(5)
