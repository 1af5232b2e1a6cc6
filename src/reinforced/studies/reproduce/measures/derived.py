"""Columns made from other columns, run by run, so that their intervals are over seeds too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from reinforced.component import setting
from reinforced.studies.reproduce.measures.base import Bench, Column, Reading, sha256


class Derived(Column):
    """Measures nothing itself."""

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`; needs a number of every part."""
        found = [bench.other(part) for part in self.parts]
        known = [one for one in found if one is not None and not isinstance(one.value, str)]
        if len(known) < len(self.parts):
            return None
        outcomes = sha256(" ".join(one.evidence["outcomes"] for one in known))
        evidence = {"outcomes": outcomes, "model": known[0].evidence["model"]}
        return Reading(self.combine([float(one.value) for one in known]), None, evidence)

    def combine(self, values: list[float]) -> float:
        """The parts' values to this column's."""
        raise NotImplementedError

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`: its parts have been measured."""

    def passes(self, images: int) -> float:  # noqa: ARG002
        """See :class:`Column`."""
        return 0.0


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
    def least(self) -> float:
        """See :class:`Column`."""
        return -1.0

    def combine(self, values: list[float]) -> float:
        """See :class:`Derived`."""
        return values[0] - values[1]


class Peak(Derived):
    """The largest of several columns: of noisy figures, so too large, and more so the more there are."""

    measure: Literal["peak"]
    of: tuple[str, ...] | dict[str, tuple[str, ...]] = setting(..., "ids of columns; or those of each size")

    @property
    def parts(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        assert isinstance(self.of, tuple)  # the study has chosen the size's
        return self.of

    def combine(self, values: list[float]) -> float:
        """See :class:`Derived`."""
        return max(values)
