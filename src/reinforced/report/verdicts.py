"""What the judge said of a run, read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reinforced.report.reading import Reader, interval, mapping, number, objects, text, texts

_CHECKPOINT = re.compile(r"-(quick|standard|thorough)-[0-9]+-(?P<checkpoint>best|[0-9]+)$")
GRADES = ("witness", "failed control", "mechanism", "heuristic")
"""What evidence is worth, best first."""


@dataclass(frozen=True)
class ShareRecord:
    """A count of images as a share, with its 95 % interval; not-a-number where it is missing."""

    count: float
    share: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class FindingRecord:
    """One check's finding; ``fired`` is ``None`` where it could not be run."""

    check: str
    fired: bool | None
    grade: str
    message: str
    figures: Mapping[str, Any]
    witnesses: int
    passes: float


@dataclass(frozen=True)
class VerdictRecord:
    """A verdict on a claim.

    Attributes:
        label: genuine, overstated, masked, not-robust, inconclusive; empty if it is missing.
        residual: not-a-number where no check was run.
        evidence: the findings that fired, best grade first, those with most witnesses first.
        findings: all of them, in the order in which they ran.
    """

    folder: Path
    claim: str
    label: str
    paragraph: str
    reason: str
    claimed: ShareRecord
    residual: ShareRecord
    loss: ShareRecord
    control: ShareRecord
    images: float
    passes: float
    budget: str
    not_tested: tuple[str, ...]
    evidence: tuple[FindingRecord, ...]
    findings: tuple[FindingRecord, ...]

    @property
    def checkpoint(self) -> str:
        """Of which weights: the end of the folder's name; of one from Python it is unknown, so ``last``."""
        found = _CHECKPOINT.search(self.folder.name)
        return found["checkpoint"] if found else "last"


def stated(claim: str) -> tuple[str, str]:
    """``linf:0.15`` and ``55%`` (or empty) of ``pgd@linf:0.15=55%``, with a certificate or without."""
    threat, _, accuracy = claim.partition(" certified ")[0].rpartition("@")[2].partition("=")
    return threat, accuracy


def read_verdicts(reader: Reader) -> tuple[VerdictRecord, ...]:
    """The run's latest verdict, then those of its other diagnoses; on its last weights before on others."""
    file = reader.root / "verdict.json"
    own = reader.json(file)
    others = sorted((reader.root / "diagnostics").glob("*/verdict.json"))
    found = {file: own} | {
        other: reader.json(other) for other in others if other.parent.name != text(own, "folder")
    }
    verdicts = [_verdict(file, values) for file, values in found.items() if values]
    return tuple(sorted(verdicts, key=lambda one: one.checkpoint != "last"))


def _verdict(file: Path, values: Mapping[str, Any]) -> VerdictRecord:
    findings = tuple(_finding(one) for one in objects(values, "findings"))
    fired = [one for one in findings if one.fired and one.grade in GRADES]
    evidence = sorted(fired, key=lambda one: (GRADES.index(one.grade), -one.witnesses))
    return VerdictRecord(
        file.parent / "diagnostics" / text(values, "folder") if "folder" in values else file.parent,
        text(values, "claim"),
        text(values, "label"),
        text(values, "paragraph"),
        text(values, "reason"),
        _share(values, "claimed"),
        # Where no check was run it repeats what was claimed, which is nothing left of it.
        _share(values if values.get("examined", True) else {}, "residual"),
        _share(values, "loss"),
        _share(values, "control"),
        number(values, "images"),
        number(values, "passes"),
        text(values, "budget"),
        texts(values, "not_tested"),
        tuple(evidence),
        findings,
    )


def _share(values: Mapping[str, Any], name: str) -> ShareRecord:
    share = mapping(values, name)
    return ShareRecord(number(share, "count"), number(share, "share"), interval(share, "interval"))


def _finding(values: Mapping[str, Any]) -> FindingRecord:
    fired, witnesses = values.get("fired"), values.get("witnesses")
    return FindingRecord(
        text(values, "check", "unnamed"),
        fired if isinstance(fired, bool) else None,
        text(values, "grade"),
        text(values, "message"),
        mapping(values, "figures"),
        len(witnesses) if isinstance(witnesses, list) else 0,
        number(values, "passes"),
    )
