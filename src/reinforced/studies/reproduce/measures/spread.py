"""The standard error that a draw of the images leaves an indicator's figure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reinforced.diagnostics.indicators.base import QUANTILES
from reinforced.studies.statistics import normal_quantile

Values = NDArray[np.float64]


def image_error(values: Values, statistic: str) -> float | None:
    """Standard error over draws of N images of an indicator's ``statistic``; values (N,) or (steps, N).

    Of a mean the jackknife over whole images, whose steps go together; of a quantile half of Woodruff's
    interval (1952, JASA 47) in normal quantiles. Values that are not a number are left out, as in the figure.

    Returns:
        ``None`` of any other statistic, of fewer than two images, and where all agree, which is no certainty.
    """
    return _error(values, statistic) or None


def _error(values: Values, statistic: str) -> float | None:
    if statistic in QUANTILES and values.ndim == 1:
        return _quantile_error(values[~np.isnan(values)], QUANTILES[statistic])
    if statistic == "rising_steps":
        values = (np.diff(values, axis=0, prepend=0) > 0).astype(float)
    elif statistic.startswith("step "):
        values = values[int(statistic.removeprefix("step ")) - 1]
    elif statistic != "mean":
        return None
    return _mean_error(np.atleast_2d(values))


def _mean_error(values: Values) -> float | None:
    """Of the mean of all defined values (steps, N)."""
    defined = ~np.isnan(values)
    sums, counts = np.where(defined, values, 0).sum(0), defined.sum(0)
    others = counts.sum() - counts
    if (others == 0).any():
        return None
    without = (sums.sum() - sums) / others
    images = len(without)
    return float(math.sqrt((images - 1) / images * np.sum((without - without.mean()) ** 2)))


def _quantile_error(values: Values, share: float) -> float | None:
    if len(values) < 2:
        return None
    error = math.sqrt(share * (1 - share) / len(values))
    beside = normal_quantile() * error
    ends = max(share - beside, 0.0), min(share + beside, 1.0)  # of few images not as far to both sides
    low, high = np.quantile(values, ends)
    return float((high - low) * error / (ends[1] - ends[0]))
