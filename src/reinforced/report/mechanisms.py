"""What was measured inside a model: indicators image by image, and landscapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reinforced.report.reading import Array, Reader, interval, mapping, objects, text, texts


@dataclass(frozen=True, eq=False)
class IndicatorRecord:
    """All indicators of a model under one threat.

    Attributes:
        indicators: name -> what was recorded of it: ``unit``, ``axes``, ``mean``, ``q05``, ``by_step``, ...
        entropy: rows of ``images``, ``prediction``, ``count``, ``mean``, ``std``, in bits.
        calibration: ``clean`` and ``adversarial``.
        values: name -> values of each image, with the axes the indicator names; ``entropy`` and ``right``
            are (2, N), clean first.
    """

    threat: str
    setup: Mapping[str, Any]
    indicators: Mapping[str, Mapping[str, Any]]
    entropy: tuple[Mapping[str, Any], ...]
    calibration: Mapping[str, Mapping[str, Any]]
    values: Mapping[str, Array]


@dataclass(frozen=True, eq=False)
class LandscapeRecord:
    """Loss and decision in a plane around an image.

    Attributes:
        axis: (S,) in epsilons, of columns (adversarial) and rows (random) alike.
        loss: (S, S) float32; ``decision`` (S, S) classes.
        image: number of the test image; ``label`` its class; -1 if unknown.
        record: all that was written of it.
    """

    threat: str
    image: int
    label: int
    classes: tuple[str, ...]
    loss_name: str
    loss_range: tuple[float, float]
    axis: Array
    loss: Array
    decision: Array
    record: Mapping[str, Any]


def read_indicators(reader: Reader) -> tuple[IndicatorRecord, ...]:
    """The indicators of a run, by threat."""
    found = []
    for file in sorted((reader.root / "diagnostics" / "indicators").glob("*.json")):
        values = reader.json(file)
        if not values:
            continue
        indicators, calibration = mapping(values, "indicators"), mapping(values, "calibration")
        found.append(
            IndicatorRecord(
                text(values, "threat", file.stem.replace("-", ":", 1)),
                values,
                {name: mapping(indicators, name) for name in indicators},
                tuple(objects(values, "entropy")),
                {name: mapping(calibration, name) for name in calibration},
                reader.arrays(file.with_suffix(".npz")),
            )
        )
    return tuple(found)


def read_landscapes(reader: Reader) -> tuple[LandscapeRecord, ...]:
    """The landscapes in ``diagnostics/landscape``, however deep."""
    found = []
    for file in sorted((reader.root / "diagnostics" / "landscape").rglob("landscape.json")):
        values, arrays = reader.json(file), reader.arrays(file.with_suffix(".npz"))
        shapes = [arrays[name].shape for name in ("axis", "loss", "decision") if name in arrays]
        if not values or len(shapes) < 3:
            continue
        size = shapes[0]
        if len(size) != 1 or shapes[1:] != [size * 2, size * 2]:
            reader.missing(file.with_suffix(".npz"), "damaged (shapes do not fit)")
            continue
        loss = mapping(values, "loss")
        found.append(
            LandscapeRecord(
                text(values, "threat"),
                _integer(values, "image"),
                _integer(values, "label"),
                texts(values, "classes"),
                text(loss, "name", "loss"),
                interval(loss, "range") if "range" in loss else (math.nan, math.nan),
                arrays["axis"],
                arrays["loss"],
                arrays["decision"],
                values,
            )
        )
    return tuple(found)


def _integer(values: Mapping[str, Any], key: str) -> int:
    value = values.get(key)
    return value if isinstance(value, int) else -1
