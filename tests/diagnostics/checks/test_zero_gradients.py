"""Gradients that are exactly zero."""

from __future__ import annotations

import pytest
from torch import nn

from reinforced.diagnostics.checks.zero_gradients import ZeroGradients
from tests.diagnostics.checks.defences import Dead, case_of, model_of


@pytest.mark.parametrize("name", ["plain", "smoothed", "pgd", "trades"])
def test_honest_models_have_gradients(name: str) -> None:
    finding = ZeroGradients().measure(case_of(model_of(name)))
    assert finding.fired is False
    assert finding.figures["zero_ce"] == 0


def test_six_passes_an_image() -> None:
    case = case_of(model_of("pgd"))
    ZeroGradients().measure(case)
    assert case.passes == 6 * int(case.claimed.sum())


def test_no_gradient_under_any_loss_is_a_mechanism() -> None:
    finding = ZeroGradients().measure(case_of(nn.Sequential(Dead(), model_of("plain")).eval()))
    assert finding.grade == "mechanism"
    assert [finding.figures[f"zero_{loss}"] for loss in ("ce", "margin", "dlr")] == [1, 1, 1]
    assert "black_box" in finding.remedies


def test_none_under_cross_entropy_alone_is_a_hint() -> None:
    finding = ZeroGradients().measure(case_of(model_of("scaled")))
    assert finding.grade == "heuristic"
    assert float(str(finding.figures["zero_ce"])) > 0.9
    assert finding.figures["zero_margin"] == 0


def test_labels_alone_cannot_be_looked_at() -> None:
    finding = ZeroGradients().measure(case_of(model_of("vote")))
    assert finding.fired is None
    assert "one-hot" in finding.message or "no gradient" in finding.message
