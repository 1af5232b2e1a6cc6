"""Accuracy left by examples that were made on the next seed's model of a row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from reinforced.attacks.base import run_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.attacks.transfer import Transfer
from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import data_sha256, model_sha256
from reinforced.evaluation.job import folder_name
from reinforced.studies.evaluations import CRAFT
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
    """MI-FGSM on a model of the source row that is never the one attacked, not on the row itself either."""

    measure: Literal["transfer"]
    source: str = setting(..., "row that the examples are made on")
    threat: str = setting(..., "the ball: l2:1")

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        return (self.source,)

    @property
    def all_seeds(self) -> bool:
        """See :class:`Column`: the next seed's."""
        return True

    def check(self) -> None:
        """See :class:`Column`."""
        ThreatModel.parse(self.threat)

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: the source row has one seed.
        """
        made_on = bench.neighbour(self.source)
        surrogate = None if made_on is None else digest(made_on, "last")
        if surrogate is None:
            return None
        about = {
            "model": digest(bench.run, "last"),
            "surrogate": surrogate,
            "attack": CRAFT.name,
            "source": bench.data,
        }
        return read_outcomes(self._file(bench, surrogate), self.count(bench), **about)

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: the source row has one seed, or no run of the next one.
        """
        made_on = bench.neighbour(self.source)
        if made_on is None:
            raise ReinforcedError(f"column {self.id}: no run of {self.source} with the next seed")
        told(f"transfer from {self.source}")
        subject = bench.subject("last", self.count(bench))
        surrogate = bench.subject("last", 1, made_on).model
        attack = Transfer({self.source: surrogate}, CRAFT)
        threat = ThreatModel.parse(self.threat)
        found = run_attack(attack, subject.model, subject.images, subject.labels, threat, seed=0)
        sha256 = model_sha256(surrogate)
        keep_outcomes(
            self._file(bench, sha256),
            found.robust.cpu(),
            model=model_sha256(subject.model),
            surrogate=sha256,
            attack=CRAFT.name,
            source=bench.data,
            data=data_sha256(subject.images, subject.labels),
        )

    def passes(self, images: int) -> float:
        """See :class:`Column`."""
        return 2.0 * CRAFT.steps * images

    def command(self, images: int, test: str | None) -> str:
        """See :class:`Column`."""
        ball = f"--threat {self.threat} --attacks fgsm {options(images, test, 'last')}"
        return f"reinforced evaluate RUN NEXT {ball} --curve models  # NEXT: the source's next seed"

    def _file(self, bench: Bench, surrogate: str) -> Path:
        name = f"transfer-{folder_name(self.threat)}-{self.count(bench)}-{surrogate[:12]}.json"
        return bench.run / HERE / name
