"""The certificate of a half-space, whose smoothed half-space is itself: the true radius is the distance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.certificate import CertificateCheck
from reinforced.diagnostics.findings import Claim, Finding

CLAIM = "pgd(loss=margin)@l2:0.1 certified smoothing:0.25"
DISTANCES = torch.linspace(0.02, 0.45, 40)


class Side(nn.Module):
    """Class 1 where the first pixel is above ``border``."""

    def __init__(self, border: float = 0.5) -> None:
        super().__init__()
        self.border = border

    def forward(self, x: Tensor) -> Tensor:
        lead = 100 * (x[:, 0, 0, 0] - self.border)
        return torch.stack([-lead, lead], 1)


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    images = torch.full((40, 1, 2, 2), 0.5)
    images[:, 0, 0, 0] += DISTANCES
    return images, torch.ones(40, dtype=torch.int64)


Examined = Callable[..., Finding]


@pytest.fixture
def examined(case_for: Callable[..., Case], data: tuple[Tensor, Tensor]) -> Examined:
    def examine(model: nn.Module, claim: str = CLAIM, **rest: Any) -> Finding:
        return CertificateCheck().measure(
            case_for(model.eval(), claim, data=data, **{"smoothed": Side(), **rest})
        )

    return examine


def test_it_covers_the_model_it_certifies(examined: Examined) -> None:
    found = examined(Side())
    assert found.fired is False
    assert 0 < int(found.figures["certified"] or 0) <= int((DISTANCES >= 0.1).sum())
    assert (found.figures["defeated"], found.figures["misclassified"]) == (0, 0)
    assert "majority vote" in found.message


def test_it_does_not_cover_another_model(examined: Examined) -> None:
    found = examined(Side(0.75))
    # Below a distance of .25 the image itself is wrong; up to .35 the claimed attack breaks it.
    assert (found.fired, found.grade) == (True, "witness")
    assert int(found.figures["misclassified"] or 0) > 0
    assert int(found.figures["defeated"] or 0) > 0
    assert found.witnesses == ()  # the claimed attack found them itself


def test_examples_inside_the_radius_defeat_it(
    case_for: Callable[..., Case], data: tuple[Tensor, Tensor]
) -> None:
    case = case_for(Side().eval(), CLAIM, data=data, smoothed=Side())
    case.examples |= {row: case.images[row] for row in (35, 36, 37)}
    spent = case.passes
    found = CertificateCheck().measure(case)
    assert (found.grade, found.witnesses, found.black_box) == ("witness", (35, 36, 37), True)
    assert case.passes - spent == 40 * (100 + 200)


def test_a_figure_that_is_not_reached_is_a_hint(examined: Examined) -> None:
    found = examined(Side(), CLAIM + "=99%")
    assert (found.fired, found.grade) == (True, "heuristic")
    assert "99.0%" in found.message


def test_an_linf_ball_needs_the_radius_that_holds_it(examined: Examined) -> None:
    found = examined(Side(), CLAIM.replace("l2", "linf"))
    assert found.figures["radius"] == pytest.approx(0.1 * 2)


@pytest.mark.parametrize(
    ("claim", "options", "said"),
    [
        (CLAIM, {"smoothed": None}, "was not given"),
        (CLAIM.replace("smoothing:0.25", "other"), {}, "Only certificates by randomised smoothing"),
        (CLAIM.replace("0.25", "0.05"), {}, "at most 0.091"),
    ],
)
def test_what_cannot_be_recomputed_is_untested(
    examined: Examined, claim: str, options: dict[str, Any], said: str
) -> None:
    found = examined(Side(), claim, **options)
    assert found.fired is None
    assert said in found.message


def test_claims_without_one_do_not_concern_it() -> None:
    assert not CertificateCheck().concerns(Claim.parse("pgd@l2:0.1"))
    assert CertificateCheck().concerns(Claim.parse(CLAIM))
