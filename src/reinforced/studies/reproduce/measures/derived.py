"""Columns made from other columns, run by run, so that their intervals are over seeds too."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.imagewise import share_error
from reinforced.studies.reproduce.measures.base import Bench, Column, Reading, sha256


class Derived(Column):
    """Measures nothing itself."""

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`; needs a number of every part."""
        read = [bench.other(part) for part in self.parts]
        known = [one for one in read if one is not None and not isinstance(one.value, str)]
        if len(known) < len(self.parts):
            return None
        outcomes = sha256(" ".join(one.evidence["outcomes"] for one in known))
        evidence = {"outcomes": outcomes, "model": known[0].evidence["model"]}
        data = {one.evidence.get("data") for one in known}
        if len(data) == 1 and None not in data:
            evidence["data"] = known[0].evidence["data"]
        found = self.combine(known)
        return replace(found, evidence=evidence | dict(found.evidence))

    def combine(self, parts: list[Reading]) -> Reading:
        """The parts' readings to this column's; to their joint evidence its own is added."""
        raise NotImplementedError

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`: its parts have been measured."""

    def passes(self, images: int) -> float:  # noqa: ARG002
        """See :class:`Column`."""
        return 0.0


def error_of(reading: Reading) -> float | None:
    """A share's standard error over its images; ``None`` where it is of none."""
    if reading.error is not None or reading.images is None or isinstance(reading.value, str):
        return reading.error
    # An indicator's mean is of images too, and may lie anywhere.
    return share_error(reading.value, reading.images) if 0 <= reading.value <= 1 else None


class Difference(Derived):
    """One column minus another, such as what was lost, or train minus test."""

    measure: Literal["difference"]
    first: str = setting(..., "id of a column")
    second: str = setting(..., "id of the one that is subtracted")

    @property
    def parts(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        return (self.first, self.second)

    @property
    def ends(self) -> tuple[float, float]:
        """See :class:`Column`."""
        return (-1.0, 1.0)

    def combine(self, parts: list[Reading]) -> Reading:
        """See :class:`Derived`; image by image where both are of the same images."""
        first, second = parts
        value = float(first.value) - float(second.value)
        same = first.evidence.get("data") == second.evidence.get("data")
        if same and first.outcomes is not None and second.outcomes is not None:
            pairs = zip(first.outcomes, second.outcomes, strict=True)
            return Reading(value, first.images, {}, tuple(one - other for one, other in pairs))
        errors = [error_of(one) for one in parts]
        error = None if None in errors else math.hypot(*(one for one in errors if one is not None))
        return Reading(value, None, {}, error=error)


class Subset(Derived):
    """A column on the images of another alone, which has fewer: of the same test images the first."""

    measure: Literal["subset"]
    of: str = setting(..., "id of a column that keeps its outcomes image by image")
    like: str = setting(..., "id of a column of the same runs on fewer images")

    @property
    def parts(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        return (self.of, self.like)

    def combine(self, parts: list[Reading]) -> Reading:
        """See :class:`Derived`.

        Raises:
            ReinforcedError: the column keeps no outcomes, or not so many.
        """
        whole, like = parts
        if whole.outcomes is None or like.images is None or len(whole.outcomes) < like.images:
            raise ReinforcedError(f"column {self.id}: {self.of} has no outcome of each image of {self.like}")
        first = whole.outcomes[: like.images]
        if min(first) < 0:
            raise ReinforcedError(f"column {self.id}: {self.of} is a difference; take the parts' subsets")
        # It is of the other's images, and so may be paired with it.
        return Reading(sum(first) / len(first), len(first), {"data": like.evidence["data"]}, first)


class Peak(Derived):
    """The largest of several columns: of noisy figures, so too large, and more so the more there are."""

    measure: Literal["peak"]
    of: tuple[str, ...] | dict[str, tuple[str, ...]] = setting(..., "ids of columns; or those of each size")

    @property
    def parts(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        assert isinstance(self.of, tuple)  # the study has chosen the size's
        return self.of

    def combine(self, parts: list[Reading]) -> Reading:
        """See :class:`Derived`; the outcomes are those of the largest."""
        best = max(parts, key=lambda one: float(one.value))
        return replace(best, evidence={})
