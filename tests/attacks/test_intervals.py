"""Clopper-Pearson intervals against published and closed-form values."""

from __future__ import annotations

import pytest

from reinforced.attacks.intervals import clopper_pearson
from reinforced.errors import ReinforcedError


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 0, 0.0, 1.0),
        (0, 10, 0.0, 1 - 0.025**0.1),
        (10, 10, 0.025**0.1, 1.0),
        (5, 10, 0.187086, 0.812914),
        (1, 100, 0.000253, 0.054459),
        (682, 925, 0.7076683, 0.7654066),  # R's documentation of binom.test
    ],
)
def test_known_values(successes: int, n: int, low: float, high: float) -> None:
    assert clopper_pearson(successes, n) == pytest.approx((low, high), abs=2e-6)


def test_confidence_widens_it() -> None:
    narrow, wide = clopper_pearson(30, 100, 0.9), clopper_pearson(30, 100, 0.99)
    assert wide[0] < narrow[0] < 0.3 < narrow[1] < wide[1]


@pytest.mark.parametrize(("successes", "n", "confidence"), [(11, 10, 0.95), (-1, 10, 0.95), (1, 10, 95)])
def test_bad_input_is_refused(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(ReinforcedError, match="interval"):
        clopper_pearson(successes, n, confidence)
