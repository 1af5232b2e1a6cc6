"""Margin decomposition."""

from __future__ import annotations

import torch

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.checks.imbalanced_gradients import ImbalancedGradients, MarginDecomposition
from tests.diagnostics.checks.curves import DROWNED, Curves, grey_case
from tests.diagnostics.checks.defences import case_of, model_of


def test_one_logit_alone_breaks_what_no_margin_attack_does() -> None:
    case = grey_case(Curves(*DROWNED))
    for loss in ("ce", "margin", "dlr", "gap"):
        assert not case.attack(PGD(steps=40, loss=loss), on=case.claimed).broken.any()
    finding = ImbalancedGradients().measure(case)
    assert finding.grade == "mechanism"
    assert finding.witnesses == tuple(range(40))


def test_the_attack_stays_in_an_l2_ball_and_reaches_its_border() -> None:
    model, threat = model_of("plain"), ThreatModel("l2", 1.0)
    case = case_of(model, "pgd@l2:1.0")
    found = run_attack(MarginDecomposition(10), model, case.images, case.labels, threat, seed=0)
    assert (threat.excess(found.images, case.images) == 0).all()
    assert float(found.distances.max()) > 0.99
    assert int(found.robust.sum()) < int(found.clean_correct.sum())


def test_only_standing_images_are_attacked() -> None:
    case = grey_case(Curves(*DROWNED))
    case.keep(torch.arange(39), case.images[:39])
    assert ImbalancedGradients().measure(case).witnesses == (39,)
    assert ImbalancedGradients().measure(case).fired is False


def test_an_adversarially_trained_model_shows_no_mechanism() -> None:
    assert ImbalancedGradients().measure(case_of(model_of("pgd"))).grade != "mechanism"
