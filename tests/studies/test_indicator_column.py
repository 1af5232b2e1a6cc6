"""A column of an indicator: which of its figures it shows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.measures import Bench, indicator
from reinforced.studies.reproduce.measures.indicator import Indicator

COSINE = {"mean": 0.4, "zeros": 0.1, "by_step": [0.9, 0.2, None]}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A run whose path cosine over three steps has been measured on four images."""
    monkeypatch.setattr(indicator, "digest", lambda run, checkpoint: "weights")
    folder = tmp_path / "measurements" / "indicators-l2-1-4-4"
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"model": "weights", "data": "images"}))
    (folder / "l2-1.json").write_text(json.dumps({"indicators": {"path_cosine": COSINE}, "entropy": []}))
    nothing: Any = lambda *_: None  # noqa: E731
    return Bench(tmp_path, 8, 4, None, torch.device("cpu"), None, nothing, nothing, nothing)


def column(statistic: str) -> Indicator:
    return Indicator(
        id="cosine",
        measure="indicator",
        threat="l2:1",
        name="path_cosine",
        statistic=statistic,
        steps=4,
        few=True,
    )


@pytest.mark.parametrize(
    ("statistic", "value"), [("mean", 0.4), ("step 1", 0.9), ("step 2", 0.2), ("step 3", "undefined")]
)
def test_a_figure_of_the_whole_path_or_of_one_step(bench: Bench, statistic: str, value: float | str) -> None:
    found = column(statistic).read(bench)
    assert found is not None
    assert found.value == value
    assert found.images == 4


@pytest.mark.parametrize(
    ("name", "statistic", "ends"),
    [
        ("path_cosine", "mean", (-1.0, 1.0)),
        ("path_cosine", "step 2", (-1.0, 1.0)),
        ("path_cosine", "zeros", (0.0, 1.0)),
        ("path_norm", "q50", (0.0, math.inf)),
        ("path_progress", "mean", (-math.inf, math.inf)),
        ("path_progress", "rising_steps", (0.0, 1.0)),
        ("batch_variance", "of_mean_direction", (0.0, 2.0)),
        ("logit_margin", "mean", (-math.inf, math.inf)),
        ("entropy", "clean right", (0.0, math.inf)),
    ],
)
def test_a_figure_has_natural_ends(name: str, statistic: str, ends: tuple[float, float]) -> None:
    assert column(statistic).model_copy(update={"name": name}).ends == ends


def test_a_step_that_the_path_does_not_have_is_refused(bench: Bench) -> None:
    with pytest.raises(ReinforcedError, match="path_cosine has no 'step 4'"):
        column("step 4").read(bench)


def test_steps_of_one_path_are_different_evidence(bench: Bench) -> None:
    first, second = (column(statistic).read(bench) for statistic in ("step 1", "step 2"))
    assert first is not None
    assert second is not None
    assert first.evidence["outcomes"] != second.evidence["outcomes"]
