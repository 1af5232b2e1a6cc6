from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import nn

from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.transfer import TransferCheck


@pytest.mark.parametrize("name", ["plain", "pgd"])
def test_white_box_is_better_on_sound_models(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module], name: str
) -> None:
    found = TransferCheck().measure(case_for(name, surrogates={"other": model_named("other")}))
    assert found.grade in (None, "witness")
    assert len(found.witnesses) <= 2
    assert float(found.figures["own_other"] or 0) > 0.5


@pytest.mark.parametrize("name", ["dead", "scaled", "vote"])
def test_transfer_beats_an_attack_that_fails(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module], name: str
) -> None:
    found = TransferCheck().measure(case_for(name, surrogates={"other": model_named("other")}))
    assert (found.grade, found.black_box) == ("failed control", True)
    assert len(found.witnesses) > 10


def test_a_surrogate_that_its_own_examples_leave_proves_nothing(
    case_for: Callable[..., Case], model_named: Callable[[str], nn.Module]
) -> None:
    found = TransferCheck().measure(case_for("plain", surrogates={"dead": model_named("dead")}))
    assert found.fired is None
    assert "dead" in found.message


def test_nothing_to_craft_on(case_for: Callable[..., Case]) -> None:
    assert TransferCheck().measure(case_for("plain")).fired is None
    small = nn.Sequential(nn.Flatten(), nn.Linear(9, 10)).eval()
    found = TransferCheck().measure(case_for("plain", surrogates={"small": small}))
    assert found.fired is None
    assert "small" in found.message
