"""Accuracy left by examples that were made on another row's model of the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from reinforced.attacks.base import Attack, run_attack
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.threat import ThreatModel
from reinforced.attacks.transfer import Transfer
from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import data_sha256, model_sha256
from reinforced.evaluation.job import folder_name
from reinforced.studies.reproduce.measures.base import (
    HERE,
    Bench,
    Column,
    Reading,
    digest,
    keep_outcomes,
    options,
    read_outcomes,
)


class Transferred(Column):
    """MI-FGSM on the source row's model; on the row's own it is a white-box attack."""

    measure: Literal["transfer"]
    source: str = setting(..., "row that the examples are made on")
    threat: str = setting(..., "the ball: l2:1")

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        return (self.source,)

    def check(self) -> None:
        """See :class:`Column`."""
        ThreatModel.parse(self.threat)

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`."""
        made_on = bench.sibling(self.source)
        surrogate = None if made_on is None else digest(made_on, "last")
        if surrogate is None:
            return None
        about = {"model": digest(bench.run, "last"), "surrogate": surrogate}
        return read_outcomes(self._file(bench, surrogate), self.count(bench), **about)

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: the source row has no run of this seed.
        """
        made_on = bench.sibling(self.source)
        if made_on is None:
            raise ReinforcedError(f"column {self.id}: no run of {self.source} with this seed")
        told(f"transfer from {self.source}")
        subject = bench.subject("last", self.count(bench))
        surrogate = bench.subject("last", 1, made_on).model
        white_box = made_on == bench.run
        attack: Attack = MIFGSM() if white_box else Transfer({self.source: surrogate}, MIFGSM())
        threat = ThreatModel.parse(self.threat)
        found = run_attack(attack, subject.model, subject.images, subject.labels, threat, seed=0)
        sha256 = model_sha256(surrogate)
        keep_outcomes(
            self._file(bench, sha256),
            found.robust.cpu(),
            model=model_sha256(subject.model),
            surrogate=sha256,
            data=data_sha256(subject.images, subject.labels),
        )

    def passes(self, images: int) -> float:
        """See :class:`Column`."""
        return 2.0 * MIFGSM().steps * images

    def command(self, images: int, test: str | None) -> str:
        """See :class:`Column`."""
        end = options(images, test, "last")
        return f"reinforced evaluate RUN RUN-OF-{self.source} --threat {self.threat} --curve models {end}"

    def _file(self, bench: Bench, surrogate: str) -> Path:
        name = f"transfer-{folder_name(self.threat)}-{self.count(bench)}-{surrogate[:12]}.json"
        return bench.run / HERE / name
