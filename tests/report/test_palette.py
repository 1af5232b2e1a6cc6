"""Colours that hold for everybody: contrast to the background, distance under colour blindness."""

from __future__ import annotations

import re
from itertools import combinations
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from reinforced.report import palette
from reinforced.report.palette import Theme

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
SIGHTS = {
    "usual": np.eye(3),
    "protan": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deutan": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritan": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
Vector = NDArray[np.float64]


def linear(colour: str) -> Vector:
    channels = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(rgb: Vector) -> Vector:
    x, y, z = np.cbrt(XYZ @ np.clip(rgb, 1e-4, 1) / np.array([0.9505, 1, 1.089]))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def test_contrast_as_defined() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("sight", SIGHTS)
def test_methods_are_told_apart(theme: Theme, sight: str) -> None:
    seen = [lab(SIGHTS[sight] @ linear(colour)) for colour in palette.METHODS[theme]]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 12


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everything_stands_out_from_the_background(theme: Theme) -> None:
    paper = palette.INK[theme]["paper"]
    assert min(contrast(colour, paper) for colour in palette.METHODS[theme]) >= 3
    words = [palette.INK[theme]["ink"], palette.INK[theme]["muted"], *palette.VERDICT_COLOURS[theme].values()]
    assert min(contrast(colour, paper) for colour in words) >= 4.5


def test_heights_and_shares_change_evenly_in_lightness() -> None:
    for scale in (palette.HEIGHTS, palette.SHARES):
        lightness = np.array([lab(linear(colour))[0] for colour in scale])
        steps = np.diff(lightness) * np.sign(lightness[-1] - lightness[0])
        assert steps.min() > 4


def test_every_verdict_has_words_and_a_sign_of_its_own() -> None:
    from reinforced.diagnostics.verdict import Label

    assert set(palette.VERDICTS) == set(get_args(Label))
    assert len({mark.symbol for mark in palette.VERDICTS.values()}) == len(palette.VERDICTS)
    for theme in palette.VERDICT_COLOURS.values():
        assert {mark.token for mark in palette.VERDICTS.values()} == set(theme)


def test_a_slot_is_one_colour_and_the_ninth_looks_different() -> None:
    assert palette.colour(3) == palette.METHODS["light"][3] == palette.tokens("light")[palette.token(3)]
    assert palette.colour(11) == palette.colour(3)
    assert palette.DASHES[palette.variant(11)] != palette.DASHES[palette.variant(3)]
    assert palette.colour(None) == palette.INK["light"]["ink"]


def test_css_defines_each_name_in_both_themes() -> None:
    names = re.findall(r"--([a-z0-9-]+):", palette.css())
    assert {names.count(name) for name in palette.tokens("light")} == {3}
    assert palette.tokens("light").keys() == palette.tokens("dark").keys()
    assert palette.translucent("#0a5fc4", 0.5) == "rgba(10, 95, 196, 0.5)"
