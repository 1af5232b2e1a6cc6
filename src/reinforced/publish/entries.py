"""An evaluation with what must be said beside its figures, the same on a card and on a leaderboard."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reinforced.report.evaluations import EvaluationRecord
from reinforced.report.reading import Reader, text
from reinforced.report.records import RunRecord, data_source
from reinforced.report.verdicts import VerdictRecord, stated

NOT_VERIFIED = "not re-verified"
DOES_NOT_HOLD = "DOES NOT HOLD"


@dataclass(frozen=True)
class Entry:
    """One evaluation of one model.

    Attributes:
        data: data source of the images.
        doubts: why its figures rank nowhere, a phrase each.
        verdicts: on the very weights that were evaluated; those on its threat alone, where there are any.
    """

    run: RunRecord
    evaluation: EvaluationRecord
    data: str
    doubts: tuple[str, ...]
    verdicts: tuple[VerdictRecord, ...]

    @property
    def model(self) -> str:
        """The run's name, with the checkpoint where it is not the last."""
        checkpoint = self.evaluation.checkpoint
        return self.run.name if checkpoint == "last" else f"{self.run.name} ({checkpoint})"

    @property
    def weights(self) -> str:
        """Hash of the evaluated weights; empty if unknown."""
        return text(self.evaluation.setup, "model_sha256")

    @property
    def images(self) -> str:
        """Hash of the images and labels; empty if unknown."""
        return text(self.evaluation.setup, "data_sha256")

    @property
    def verification(self) -> str:
        """Whether separate code checked the examples: ``yes``, or one of the words above."""
        return {True: "yes", False: DOES_NOT_HOLD, None: NOT_VERIFIED}[self.evaluation.verified]

    @property
    def verdict(self) -> str:
        """Each verdict's label with the claim it judges; empty without any."""
        return "; ".join(f"{verdict.label} ({verdict.claim})" for verdict in self.verdicts)


def entries(run: RunRecord) -> tuple[Entry, ...]:
    """A run's evaluations, in the record's order."""
    reader = Reader(run.path)
    judged = [
        (verdict, text(reader.json(verdict.folder / "setup.json"), "model_sha256"))
        for verdict in run.verdicts
    ]
    found = []
    for evaluation in run.evaluations:
        weights = text(evaluation.setup, "model_sha256")
        verdicts = tuple(verdict for verdict, of in judged if of == weights != "")
        same = tuple(verdict for verdict in verdicts if stated(verdict.claim)[0] == evaluation.threat)
        data = text(reader.json(evaluation.folder / "subject.json"), "data") or data_source(run)
        found.append(Entry(run, evaluation, public_source(data), _doubts(evaluation), same or verdicts))
    return tuple(found)


def public_source(source: str) -> str:
    """A data source without folders of this machine: ``npz:mine.npz`` of ``npz:/data/mine.npz``."""
    kind, colon, place = source.partition(":")
    return kind + colon + place.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _doubts(evaluation: EvaluationRecord) -> tuple[str, ...]:
    doubts = []
    if not math.isfinite(evaluation.robust_accuracy):
        doubts.append("its record is damaged")
    if evaluation.incomplete:
        doubts.append("INCOMPLETE: an attack crashed, the figures are upper bounds")
    if evaluation.verified is False:
        doubts.append("its adversarial examples do not hold")
    if evaluation.control.get("broken") is False:
        doubts.append("proves nothing: the same attacks leave more than 10 % of the undefended control")
    if not math.isfinite(evaluation.autoattack_accuracy):
        doubts.append("without AutoAttack")
    return tuple(doubts)
