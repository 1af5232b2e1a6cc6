"""One step against many."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.diagnostics.checks.one_step import OneStep
from tests.diagnostics.checks.curves import DROWNED, VALLEY, Curves, grey_case
from tests.diagnostics.checks.defences import case_of, model_of


def test_a_valley_that_only_one_long_step_crosses_is_a_failed_control() -> None:
    case = grey_case(Curves(*VALLEY))
    finding = OneStep().measure(case)
    assert finding.fired
    assert finding.grade == "failed control"
    assert finding.figures["one_step"] == 40
    assert finding.figures["many"] == 0
    assert finding.witnesses == tuple(range(40))
    assert set(case.examples) == set(range(40))


def test_images_that_were_not_claimed_are_no_witnesses() -> None:
    claimed = torch.zeros(40, dtype=torch.bool)
    claimed[3] = True
    assert OneStep().measure(grey_case(Curves(*VALLEY), claimed)).witnesses == (3,)


def test_a_margin_that_one_step_does_not_see_either_is_silent() -> None:
    finding = OneStep().measure(grey_case(Curves(*DROWNED)))
    assert finding.fired is False
    assert finding.figures["p"] == 1


def test_an_ordinary_model_loses_more_to_many_steps() -> None:
    finding = OneStep().measure(case_of(model_of("plain")))
    assert finding.grade != "failed control"
    assert int(str(finding.figures["many"])) > int(str(finding.figures["one_step"]))


def test_noise_alone_is_no_failed_control() -> None:
    """Judged by single draws, PGD keeps what was misclassified by chance, and FGSM breaks more images."""

    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model_of("pgd")

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.model(x + 0.35 * torch.randn_like(x))
            return logits

    case = case_of(Noisy().eval())
    assert case.checked.randomised
    assert OneStep(draws=1).measure(case).grade == "failed control"
    assert OneStep().measure(case).grade != "failed control"
