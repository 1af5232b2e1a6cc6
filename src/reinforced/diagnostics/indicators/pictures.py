"""Landscapes as PNG: loss in a perceptual scale of colours, decisions in one colour a class."""

from __future__ import annotations

import colorsys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from reinforced.diagnostics.indicators.landscape import Landscape
from reinforced.files import atomic

Colours = NDArray[np.uint8]

# From dark blue over green to yellow, lightness rising evenly: it survives print and colour blindness.
_SCALE = np.array(
    [
        (66, 10, 92),
        (62, 62, 140),
        (42, 108, 146),
        (30, 150, 138),
        (70, 190, 110),
        (168, 218, 60),
        (250, 230, 40),
    ],
    dtype=np.float64,
)


def loss_picture(landscape: Landscape) -> Colours:
    """(n, n, 3): lowest loss dark, highest light; b rises upwards."""
    values = landscape.loss.numpy()
    low, high = float(values.min()), float(values.max())
    at = (values - low) / (high - low or 1.0) * (len(_SCALE) - 1)
    knots = np.arange(len(_SCALE))
    channels = [np.interp(at, knots, _SCALE[:, channel]) for channel in range(3)]
    return _upright(np.stack(channels, axis=-1))


def decision_picture(landscape: Landscape) -> Colours:
    """(n, n, 3): a colour a class, the true class's region the lightest; b rises upwards."""
    colours = np.array(
        [_colour(number, landscape.label) for number in range(_highest(landscape.decision) + 1)]
    )
    return _upright(colours[landscape.decision.numpy()])


def save_picture(path: Path, colours: Colours, scale: int = 2) -> None:
    """Write a PNG with each cell ``scale`` pixels wide and a cross at the image (white on black)."""
    from PIL import Image  # noqa: PLC0415 - only pictures need it

    large = colours.repeat(scale, axis=0).repeat(scale, axis=1)
    middle, arm = len(large) // 2, max(3, len(large) // 60)
    for width, shade in ((2, 0), (1, 255)):
        lines = slice(middle - width, middle + width)
        large[lines, middle - arm : middle + arm] = shade
        large[middle - arm : middle + arm, lines] = shade
    with atomic(path) as temporary:
        Image.fromarray(large).save(temporary, format="PNG")


def _upright(colours: NDArray[np.float64]) -> Colours:
    return np.ascontiguousarray(colours[::-1].round().astype(np.uint8))


def _highest(decision: Tensor) -> int:
    return int(decision.max())


def _colour(number: int, label: int) -> tuple[float, float, float]:
    # Hues a golden angle apart: neighbours in number are far apart in hue, however many there are.
    red, green, blue = colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.35 if number == label else 0.75, 0.9)
    return 255 * red, 255 * green, 255 * blue
