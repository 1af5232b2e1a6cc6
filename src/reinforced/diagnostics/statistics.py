"""Exact statements about shares of the same images: intervals, paired tests, several tests at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reinforced.attacks.intervals import clopper_pearson


@dataclass(frozen=True)
class Share:
    """``count`` of ``images``, with its exact 95 % interval (Clopper and Pearson 1934)."""

    count: int
    images: int

    @property
    def value(self) -> float:
        """The share; 0 of no images."""
        return self.count / max(1, self.images)

    @property
    def interval(self) -> tuple[float, float]:
        """Two-sided, 95 %."""
        return clopper_pearson(self.count, self.images)

    @property
    def bounds(self) -> tuple[float, float]:
        """The one-sided 95 % lower and upper bounds."""
        return clopper_pearson(self.count, self.images, 0.9)

    def __str__(self) -> str:
        """``21.9 % [17.0, 27.4]``."""
        low, high = self.interval
        return f"{100 * self.value:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


@dataclass(frozen=True)
class Gain:
    """How many more images one model keeps than another, on the same images.

    Attributes:
        ours, theirs: images that only one of the two keeps.
        images: all of them.
    """

    ours: int
    theirs: int
    images: int

    @property
    def value(self) -> float:
        """The difference of the two shares."""
        return (self.ours - self.theirs) / max(1, self.images)

    @property
    def upper(self) -> float:
        """A 95 % upper bound: each discordant share at 97.5 %, so that both hold at once (Bonferroni)."""
        high = clopper_pearson(self.ours, self.images, 0.95)[1]
        low = clopper_pearson(self.theirs, self.images, 0.95)[0]
        return high - low

    @property
    def lower(self) -> float:
        """A 95 % lower bound, in the same way."""
        low = clopper_pearson(self.ours, self.images, 0.95)[0]
        high = clopper_pearson(self.theirs, self.images, 0.95)[1]
        return low - high

    @property
    def p(self) -> float:
        """One-sided exact McNemar test of no gain: a fair coin for each discordant image."""
        from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

        if self.ours + self.theirs == 0:
            return 1.0
        return float(binomtest(self.ours, self.ours + self.theirs, 0.5, alternative="greater").pvalue)


def exceeds(share: Share, level: float) -> float:
    """p-value of the exact one-sided test that the true share is at most ``level``."""
    from scipy.stats import binomtest  # noqa: PLC0415 - slow to import

    if not share.images:
        return 1.0
    return float(binomtest(share.count, share.images, level, alternative="greater").pvalue)


def holm(values: Sequence[float]) -> list[float]:
    """p-values adjusted for being several (Holm 1979), in the order given."""
    adjusted = [0.0] * len(values)
    running = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        running = max(running, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = running
    return adjusted
