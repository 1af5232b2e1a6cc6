"""What the test images allow: a cell's outcomes image by image, and the standard errors they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reinforced.attacks.intervals import clopper_pearson
from reinforced.studies.statistics import CONFIDENCE, normal_quantile

Values = NDArray[np.float64]


def packed(outcomes: Sequence[int]) -> dict[str, str]:
    """Outcomes of N images, each 1, 0 or -1, as hexadecimal masks; ``minus`` only where there are any.

    Returns:
        ``plus`` and ``minus``: the first image is the highest bit of the first digit.
    """
    signs = np.asarray(outcomes, dtype=np.int8)
    masks = {"plus": signs > 0, "minus": signs < 0}
    return {name: np.packbits(mask).tobytes().hex() for name, mask in masks.items() if mask.any()} or {
        "plus": "00" * math.ceil(len(signs) / 8)
    }


def unpacked(value: Mapping[str, Any], images: int) -> Values | None:
    """The outcomes (N,) of one seed's value in a record; ``None`` where it keeps none."""
    if "plus" not in value and "minus" not in value:
        return None
    total = np.zeros(images)
    for name, sign in (("plus", 1.0), ("minus", -1.0)):
        if name in value:
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(value[name]), dtype=np.uint8))
            total += sign * bits[:images]
    return total


def mean_outcomes(cell: Mapping[str, Any]) -> Values | None:
    """A cell's outcomes (N,), the mean over its seeds; ``None`` where a seed keeps none."""
    if cell["images"] is None:
        return None
    found = [unpacked(value, cell["images"]) for value in cell["values"]]
    known = [one for one in found if one is not None]
    return np.mean(known, axis=0) if len(known) == len(found) else None


def standard_error(values: Values) -> float:
    """Of the mean of N values in [-1, 1], for another draw of the images.

    With the half pair on either side of Agresti & Min (2005, Statistics in Medicine 24), so that images
    which all agree are no certainty.
    """
    return float(math.sqrt(np.sum((values - values.mean()) ** 2) + 1) / (len(values) + 2))


def share_error(share: float, images: int) -> float:
    """The same of a share of N images, with Agresti & Coull's (1998) two of either kind."""
    adjusted = (share * images + 2) / (images + 4)
    return math.sqrt(adjusted * (1 - adjusted) / (images + 4))


def cell_error(cell: Mapping[str, Any]) -> float | None:
    """Of a cell's mean over seeds, which share their images; ``None`` where it is of no images."""
    outcomes = mean_outcomes(cell)
    if outcomes is not None:
        return standard_error(outcomes)
    errors = [value["error"] for value in cell["values"] if "error" in value]
    if errors:
        return float(sum(errors) / len(errors))
    return share_error(cell["mean"], cell["images"]) if cell["unit"] == "share" and cell["images"] else None


def over_images(cell: Mapping[str, Any], confidence: float = CONFIDENCE) -> tuple[float, ...]:
    """The ends that another draw of the images allows a cell's mean; none where it is of no images.

    Clopper & Pearson's of a proportion, a normal interval of other figures. A mean over seeds need not be a
    whole number of images: its lower end is that of the number below, its upper end that of the one above.
    """
    share, images = cell["unit"] == "share", cell["images"]
    if share and images is not None and cell["least"] == 0:
        total, seeds = sum(round(value["value"] * images) for value in cell["values"]), len(cell["values"])
        low, _ = clopper_pearson(total // seeds, images, confidence)
        _, high = clopper_pearson(-(-total // seeds), images, confidence)
        return low, high
    error = cell_error(cell)
    if error is None:
        return ()
    half = normal_quantile(confidence) * error
    return cell["mean"] - half, cell["mean"] + half


def paired_error(first: Mapping[str, Any], second: Mapping[str, Any]) -> float | None:
    """Of one cell's mean minus another's: image by image where both are of the same images."""
    one, other = mean_outcomes(first), mean_outcomes(second)
    same = {value.get("data") for cell in (first, second) for value in cell["values"]}
    if one is not None and other is not None and len(one) == len(other) and len(same) == 1:
        return standard_error(one - other)
    errors = [cell_error(first), cell_error(second)]
    return None if None in errors else math.hypot(*(error for error in errors if error is not None))
