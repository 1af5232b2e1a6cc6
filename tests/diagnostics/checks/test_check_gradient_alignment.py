"""Gradients throughout the ball, and catastrophic overfitting."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from reinforced.diagnostics.checks.gradient_alignment import GradientAlignment
from reinforced.models.tiny import tiny
from tests.diagnostics.checks.curves import Curves, grey_case
from tests.diagnostics.checks.defences import case_of, digits, model_of


@pytest.fixture(scope="module")
def overfitted() -> nn.Module:
    """Trained on FGSM images at epsilon 0.4, without a random start."""
    images, labels = digits("train")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = tiny((1, 8, 8), 10)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(15):
            for rows in torch.randperm(len(images)).split(64):  # type: ignore[no-untyped-call]
                x = images[rows].clone().requires_grad_()
                (slope,) = torch.autograd.grad(F.cross_entropy(model(x), labels[rows]), x)
                crafted = (x.detach() + 0.4 * slope.sign()).clamp(0, 1)
                optimiser.zero_grad()
                F.cross_entropy(model(crafted), labels[rows]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return model.eval()


def test_a_catastrophically_overfitted_model_is_a_mechanism(overfitted: nn.Module) -> None:
    case = case_of(overfitted, "fgsm@linf:0.4", images=100)
    finding = GradientAlignment().measure(case)
    assert finding.grade == "mechanism"
    assert "catastrophic" in finding.message
    assert len(finding.witnesses) > int(case.claimed.sum()) / 2


@pytest.mark.parametrize("name", ["plain", "smoothed", "pgd", "trades"])
def test_honest_models_are_aligned(name: str) -> None:
    finding = GradientAlignment().measure(case_of(model_of(name)))
    assert finding.fired is False
    assert float(str(finding.figures["mean"])) > 0.6


def test_a_line_is_perfectly_aligned() -> None:
    line = Curves([(-2.0, 0.0), (2.0, 0.0)], [(-2.0, -3.0), (2.0, -1.0)])
    assert GradientAlignment().measure(grey_case(line)).figures["mean"] == pytest.approx(1, abs=1e-3)


BENT = ([(-3.0, 0.0), (3.0, 0.0)], [(-3.0, -4.0), (0.0, -1.0), (3.0, -4.0)])
"""The rival never wins, and its slope turns where the images are."""


def test_unaligned_without_the_pattern_is_a_hint() -> None:
    finding = GradientAlignment().measure(grey_case(Curves(*BENT)))
    assert abs(float(str(finding.figures["mean"]))) < 0.6
    assert not finding.witnesses
    assert finding.grade != "mechanism"
    assert GradientAlignment(cosine=0.6).measure(grey_case(Curves(*BENT))).grade == "heuristic"
