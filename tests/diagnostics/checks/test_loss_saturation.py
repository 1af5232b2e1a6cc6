"""The same attack on other losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.checks.loss_saturation import LossSaturation
from reinforced.diagnostics.findings import Finding
from tests.diagnostics.checks.defences import Scaled, case_of, model_of


class Logged(nn.Module):
    """The released code's outputs: log(softmax + 1e-6)."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return (logits.softmax(dim=1) + 1e-6).log()


def count(finding: Finding, name: str) -> int:
    return int(str(finding.figures[name]))


def test_a_thousandfold_logit_blinds_cross_entropy() -> None:
    case = case_of(model_of("scaled"))
    before = int(case.claimed.sum())
    finding = LossSaturation().measure(case)
    assert finding.grade == "mechanism"
    assert count(finding, "ce") < before / 10
    assert count(finding, "margin") > before / 2
    assert count(finding, "gap") > before / 2
    assert float(str(finding.figures["lost"])) > 0.9
    assert set(finding.witnesses) == set(case.examples)


def test_float64_finds_gradients_that_float32_rounds_off() -> None:
    finding = LossSaturation().measure(case_of(Scaled(model_of("plain"), 8).eval()))
    assert count(finding, "ce_float64") > count(finding, "ce")


def test_logarithms_of_rounded_probabilities_are_seen_through() -> None:
    case = case_of(Logged(Scaled(model_of("plain"), 30)).eval())
    finding = LossSaturation().measure(case)
    assert finding.grade == "mechanism"
    assert len(finding.witnesses) > int(case.claimed.sum()) / 2


@pytest.mark.parametrize("name", ["plain", "smoothed", "pgd", "trades"])
def test_an_honest_model_shows_no_mechanism(name: str) -> None:
    finding = LossSaturation().measure(case_of(model_of(name), images=100))
    assert finding.grade in (None, "witness")
    assert float(str(finding.figures["lost"])) < 0.3


def test_two_classes_have_no_dlr() -> None:
    torch.manual_seed(0)

    class Two(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x[:, 0, 0, 0] * 0, x.flatten(1).mean(dim=1) - 0.5], dim=1)

    case = case_of(model_of("plain"), images=8)
    case.model, case.labels = Two().eval(), torch.zeros(8, dtype=torch.int64)
    case.clean = case.claimed = case.images.flatten(1).mean(dim=1) < 0.5
    case.checked = type(case.checked)(2, ())
    finding = LossSaturation().measure(case)
    assert "dlr" not in finding.figures
    assert "margin" in finding.figures
