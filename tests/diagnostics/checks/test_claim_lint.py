"""Can the claim be what it says?"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.claim_lint import ClaimLint
from reinforced.diagnostics.findings import Claim
from tests.diagnostics.checks.defences import case_of, model_of


def stated(claim: str, accuracy: float | None = None) -> Case:
    case: Case = case_of(model_of("pgd"), claim)
    case.claim = replace(case.claim, accuracy=accuracy)
    return case


def test_a_sound_claim_costs_nothing() -> None:
    case = case_of(model_of("pgd"), "pgd(steps=10,step=0.05)@linf:0.15")
    finding = ClaimLint().measure(case)
    assert finding.fired is False
    assert finding.figures["reach"] == pytest.approx(0.5)
    assert case.passes == 0


def test_steps_that_cannot_reach_are_rerun_with_steps_that_do() -> None:
    case = case_of(model_of("plain"), "pgd(steps=10,step=0.001,random_start=false)@linf:0.15")
    finding = ClaimLint().measure(case)
    assert finding.grade == "mechanism"
    assert "cannot reach" in finding.message
    assert len(finding.witnesses) > int(case.claimed.sum()) / 2
    assert set(finding.witnesses) == set(case.examples)


def test_the_released_script_cannot_reach_its_ball() -> None:
    case = case_of(model_of("plain"), "fgsm@l2:3.5", images=16)
    case.claim = Claim.parse("pgd-as-released(preset=script)@l2:3.5")
    case.claimed = case.clean
    finding = ClaimLint().measure(case)
    assert finding.figures["reach"] == pytest.approx(2.5)
    assert finding.grade == "mechanism"


def test_a_short_step_that_did_no_harm_is_a_hint() -> None:
    case = case_of(model_of("plain"), "fgsm(step=0.0001)@linf:0.001")
    finding = ClaimLint().measure(case)
    assert finding.grade == "heuristic"
    assert not finding.witnesses


def test_a_short_step_that_cannot_be_corrected_is_a_mechanism() -> None:
    case = case_of(model_of("vote"), "pgd(steps=2,step=0.01)@linf:0.15", images=16)
    finding = ClaimLint().measure(case)
    assert finding.grade == "mechanism"
    assert "needs gradients" in finding.message


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_another_figure_than_the_attack_gives_here_is_a_hint(accuracy: float) -> None:
    finding = ClaimLint().measure(stated("pgd@linf:0.15", accuracy))
    assert finding.grade == "heuristic"
    assert f"{100 * accuracy:.1f} % was stated" in finding.message


def test_the_figure_it_gives_here_is_none() -> None:
    case = stated("pgd@linf:0.15")
    case.claim = replace(case.claim, accuracy=float(case.claimed.float().mean()))
    assert ClaimLint().measure(case).fired is False


def test_an_ensemble_leaves_no_more_than_its_member() -> None:
    case = stated("fgsm@linf:0.15")
    case.claim = replace(case.claim, attack="autoattack")
    finding = ClaimLint().measure(case)
    assert finding.grade == "witness"
    assert "APGD" in finding.message
    assert finding.figures["member_breaks"] == len(finding.witnesses) > 0


def test_a_ball_that_holds_plain_grey_is_too_large() -> None:
    case = case_of(model_of("pgd"), "pgd(steps=1,step=0.5,random_start=false)@linf:0.5")
    case.claimed = case.clean
    finding = ClaimLint().measure(case)
    assert finding.grade == "mechanism"
    assert finding.figures["grey_inside"] == 1
    grey = torch.full_like(case.images[:1], 0.5)
    label = case.model(grey).argmax(dim=1)
    assert set(finding.witnesses) == set((case.clean & (case.labels != label)).nonzero().flatten().tolist())
