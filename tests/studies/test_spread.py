"""The standard error over images of an indicator's figure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from reinforced.studies.reproduce.measures.spread import image_error

RANDOM = np.random.default_rng(0)


def test_of_a_mean_it_is_the_deviation_over_the_root_of_the_images() -> None:
    values = RANDOM.exponential(size=50)
    assert image_error(values, "mean") == pytest.approx(values.std(ddof=1) / math.sqrt(50))


def test_the_steps_of_an_image_are_no_further_images() -> None:
    values = RANDOM.normal(size=40)
    assert image_error(np.stack([values] * 9), "mean") == pytest.approx(image_error(values, "mean"))
    assert image_error(np.stack([values, 7 * values]), "step 2") == pytest.approx(
        image_error(7 * values, "mean")
    )


def test_undefined_values_are_left_out() -> None:
    values = RANDOM.normal(size=(3, 40))
    values[1, :10] = values[:, 20:] = math.nan
    # What 2,000 draws of the images give, to within 15 %: five standard errors of that figure, and its bias.
    drawn = [np.nanmean(values[:, RANDOM.integers(40, size=40)]) for _ in range(2000)]
    assert image_error(values, "mean") == pytest.approx(np.std(drawn), rel=0.15)


@pytest.mark.parametrize(("statistic", "images"), [("q25", 500), ("q50", 500), ("q95", 500), ("q95", 40)])
def test_of_a_quantile_it_is_what_new_draws_give(statistic: str, images: int) -> None:
    samples = RANDOM.normal(size=(400, images))
    found = np.mean([image_error(sample, statistic) for sample in samples])
    drawn = np.quantile(samples, float(statistic[1:]) / 100, axis=1).std()
    assert found == pytest.approx(drawn, rel=0.2)


def test_of_steps_that_raise_the_loss() -> None:
    progress = np.array([[1.0, -1.0, 1.0, 1.0], [2.0, -2.0, 0.5, 2.0]])  # an image's share is 1, 0, 1/2, 1
    shares = np.array([1.0, 0.0, 0.5, 1.0])
    assert image_error(progress, "rising_steps") == pytest.approx(image_error(shares, "mean"))


@pytest.mark.parametrize(
    ("values", "statistic"),
    [
        (np.ones((2, 9)), "q50"),  # its steps go together
        (np.ones(9), "of_mean_direction"),
        (np.ones(9), "mean"),  # all agree, which is no certainty
        (np.ones(9), "q95"),
        (np.ones(1), "mean"),
        (np.ones(1), "q50"),
        (np.array([1.0, math.nan]), "mean"),
    ],
)
def test_of_anything_else_there_is_none(values: np.ndarray, statistic: str) -> None:
    assert image_error(values, statistic) is None
