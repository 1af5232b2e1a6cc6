"""A change that is not meant to change training leaves the losses of its first updates as they were."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

import golden


@pytest.mark.parametrize("name", golden.RECIPES)
def test_the_first_losses_are_the_golden_ones(name: str) -> None:
    """Renew them with ``python benchmarks/golden.py --write``, and say why."""
    stored, found = golden.stored(name), golden.losses(name)
    assert len(found) == golden.UPDATES
    if stored["machine"] == golden.here():
        assert found == stored["losses"]
    else:
        assert found == pytest.approx(stored["losses"], rel=golden.RELATIVE)
