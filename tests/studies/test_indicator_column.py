"""A column of an indicator: which of its figures it shows."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.measures import Bench, indicator
from reinforced.studies.reproduce.measures.indicator import Indicator

ENTROPY = [
    {"images": "clean", "prediction": "right", "mean": 0.2},
    {"images": "adversarial", "prediction": "wrong", "mean": 3.0},
]
COSINE = {"mean": 0.4, "zeros": 0.1, "by_step": [0.9, 0.2, None]}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A run whose path cosine over three steps has been measured on four images."""
    monkeypatch.setattr(indicator, "digest", lambda run, checkpoint: "weights")
    folder = tmp_path / "measurements" / "indicators-l2-1-4-4"
    folder.mkdir(parents=True)
    (folder / "about.json").write_text(json.dumps({"model": "weights", "data": "images"}))
    values = np.array([[0.8, 1.0, 0.9, 0.9], [0.1, 0.3, 0.2, 0.2], [np.nan] * 4])
    right = np.array([[True, True, False, False], [True, False, False, False]])
    np.savez(
        folder / "l2-1.npz",
        path_cosine=values,
        entropy=np.array([[0.1, 0.3, 1, 2], [1, 2, 3, 4]]),
        right=right,
    )
    (folder / "l2-1.json").write_text(json.dumps({"indicators": {"path_cosine": COSINE}, "entropy": ENTROPY}))
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


def test_steps_are_no_images(bench: Bench) -> None:
    file = bench.run / "measurements" / "indicators-l2-1-4-4" / "l2-1.json"
    axes = {"batch_variance": {"mean": 0.4, "axes": ["step"]}}
    file.write_text(json.dumps({"indicators": axes, "entropy": []}))
    found = column("mean").model_copy(update={"name": "batch_variance"}).read(bench)
    assert found is not None
    assert found.error is None


@pytest.mark.parametrize(
    ("name", "statistic", "error"),
    [
        ("path_cosine", "step 1", np.std([0.8, 1.0, 0.9, 0.9], ddof=1) / 2),
        ("path_cosine", "zeros", None),  # a share, whose error follows from it
        ("entropy", "clean right", 0.1),
        ("entropy", "adversarial wrong", 1 / np.sqrt(3)),
    ],
)
def test_it_says_what_other_images_would_allow(
    bench: Bench, name: str, statistic: str, error: float | None
) -> None:
    found = column(statistic).model_copy(update={"name": name}).read(bench)
    assert found is not None
    assert found.error == (None if error is None else pytest.approx(error))


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
