"""The released procedure's steps, and its correction."""

from __future__ import annotations

from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.attack_lint import AttackLint
from reinforced.diagnostics.findings import Claim
from tests.diagnostics.checks.defences import Scaled, case_of, model_of


def released(factor: float, claim: str, images: int = 64) -> Case:
    """A case whose claimed attack was run as a diagnosis runs it, on logits times ``factor``."""
    case: Case = case_of(Scaled(model_of("plain"), factor).eval(), "fgsm@l2:1.0", images=images)
    case.claim = Claim.parse(claim)
    attack = parse_attack(case.claim.attack)
    assert isinstance(attack, PGDAsReleased)
    case.claimed = case.clean & attack.run(case.model, case.images, case.labels, case.threat, seed=0).correct
    return case


def test_short_steps_of_a_confident_model_are_a_mechanism_with_witnesses() -> None:
    case = released(8, "pgd-as-released@l2:1.0")
    finding = AttackLint().measure(case)
    assert finding.grade == "mechanism"
    assert float(str(finding.figures["step"])) < 0.5
    assert len(finding.witnesses) > int(case.claimed.sum()) / 2
    assert "nominal" in finding.message


def test_what_is_probed_are_the_claimed_attacks_own_steps() -> None:
    case = released(8, "pgd-as-released(steps=5,step=0.2)@l2:1.0")
    whole = PGDAsReleased(steps=5, step=0.2).run(case.model, case.images, case.labels, case.threat, seed=0)
    part = PGDAsReleased(steps=3, step=0.2).run(case.model, case.images, case.labels, case.threat, seed=0)
    assert (whole.step_ratios[:3] == part.step_ratios).all()
    finding = AttackLint().measure(case)
    expected = whole.step_ratios[:, case.claimed].median(dim=0).values.median()
    assert finding.figures["step"] == round(float(expected), 4)


def test_full_steps_are_no_fault() -> None:
    case = released(1e-3, "pgd-as-released(steps=20)@l2:0.2")
    finding = AttackLint().measure(case)
    assert float(str(finding.figures["step"])) > 0.99
    assert finding.grade in ("heuristic", "witness")
    assert "nominal" not in finding.message


def test_sealed_attacks_have_nothing_to_lint() -> None:
    case = case_of(model_of("plain"))
    finding = AttackLint().measure(case)
    assert finding.fired is False
    assert case.passes == 0
