"""Accuracy that is left: clean, under PGD, under AutoAttack, and in the worst case."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from reinforced.report.evaluations import EvaluationRecord, first_of
from reinforced.report.figure import Axis, Bar, Bars, Figure, Values, short
from reinforced.report.figures.over_seeds import Method, by_method, of_shares, over_images
from reinforced.report.figures.words import intervals, percent, ranged, seeds, slug
from reinforced.report.records import RunRecord

CATEGORIES = ("clean", "PGD", "AutoAttack", "worst case")


def comparison(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure a threat."""
    threats = dict.fromkeys(one.threat for record in records for one in record.evaluations)
    return [figure for threat in threats for figure in _figure(threat, by_method(records))]


def _figure(threat: str, methods: Sequence[Method]) -> list[Figure]:
    bars, estimates, absent, images = [], [], [], []
    for method in methods:
        found = [one for run in method.runs if (one := first_of(run.evaluations, threat))]
        if not found:
            absent.append(f"{method.label}: no evaluation under {threat}")
            continue
        estimate = of_shares([_row(one) for one in found])
        bars.append(
            Bar(method.label, method.slot, estimate.value, estimate.low, estimate.high, estimate.about)
        )
        estimates.append(estimate)
        images += [one.images for one in found]
        absent += [
            f"{method.label}: no {name} under {threat}"
            for name, value in zip(CATEGORIES, estimate.value, strict=True)
            if math.isnan(value)
        ]
    if not bars:
        return []
    told = "; ".join(
        f"{short(bar.name)}: "
        + ", ".join(f"{name} {percent(value)}" for name, value in zip(CATEGORIES, bar.values, strict=True))
        for bar in bars
    )
    return [
        Figure(
            slug("comparison", threat),
            f"Accuracy left ({threat})",
            f"On {ranged(images, 'test image')}, {seeds(methods)}. Worst case: right under every attack. "
            f"PGD: the strongest that ran on every image. {intervals(estimates)}",
            f"Bars of accuracy. {told}.",
            (Bars(threat, Axis("accuracy", percent=True, limits=(0, 1)), CATEGORIES, tuple(bars)),),
            missing=tuple(absent),
        )
    ]


def _row(one: EvaluationRecord) -> tuple[Values, Values, Values]:
    shares = (one.clean_accuracy, pgd_accuracy(one), one.autoattack_accuracy, one.robust_accuracy)
    ends = [over_images(share, one.images) for share in shares]
    low, high = zip(*ends, strict=True)
    return np.array(shares), np.array(low), np.array(high)


def pgd_accuracy(one: EvaluationRecord) -> float:
    """Left by the strongest PGD that skipped no image; not-a-number without one."""
    found = [attack.accuracy for attack in one.attacks if attack.name.split("(")[0] == "pgd"]
    return min((share for share in found if not math.isnan(share)), default=math.nan)
