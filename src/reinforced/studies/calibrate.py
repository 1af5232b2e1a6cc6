"""Calibration of the judge: its verdicts on defences with known answers, beside AutoAttack's flags."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.data import load, to_float
from reinforced.diagnostics.case import Budget
from reinforced.diagnostics.diagnose import Diagnosis, diagnose
from reinforced.errors import Interrupted, ReinforcedError, did_you_mean
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.preflight import preflight
from reinforced.files import write_json
from reinforced.zoo import DEFENCES, Bases, Defence

SEEDS = (0, 1, 2)
SET_SEEDS = (0, 1)
"""Thresholds may be set looking at these seeds; the report counts the others."""
CONTROL = 3000
"""Added to the seed for the undefended control. Were it the defences' own base, transfer from it would tell
the judge what a judge cannot know."""
REFERENCE_IMAGES = 128
"""Images that AutoAttack gets."""
FLAGGED_IMAGES = 16
"""Images of a randomised model that AutoAttack's standard version gets too, for its flags alone."""
SAME = 0.03
"""A model may be left with no more than this above another with the same predictions. Below is no fault: the
other was attacked less, for a claim without any gain is not examined further."""

LABELS = ("genuine", "overstated", "masked", "not-robust", "inconclusive")
Told = Callable[[str], None]


@dataclass(frozen=True)
class Reference:
    """AutoAttack on the same model.

    Attributes:
        accuracy: what it leaves; ``None`` where it cannot be run.
        flags: kinds of its own doubts, or why it cannot be run.
    """

    accuracy: float | None
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One defence of one seed.

    Attributes:
        right: the verdicts that are right for it.
        held_out: neither defence nor seed was looked at when thresholds were set.
        label: the verdict given, and its ``reason``.
        base_residual: of the defence whose predictions this one keeps, where both were judged.
        certified: share of images with a certificate for the threat's radius.
        defeated: images with such a certificate and a verified example inside it.
        seconds: of diagnosis and AutoAttack; training is not counted.
    """

    defence: str
    seed: int
    claim: str
    right: tuple[str, ...]
    held_out: bool
    label: str
    reason: str
    claimed: float
    residual: float
    reference: Reference
    seconds: float
    keeps: str = ""
    base_residual: float | None = None
    certified: float | None = None
    defeated: int = 0

    @property
    def outcome(self) -> str:
        """``right``, ``abstained``, ``wrong``, or ``residual`` where only that is above its base's."""
        if self.label not in self.right:
            return "abstained" if self.label == "inconclusive" else "wrong"
        if self.base_residual is not None and self.residual - self.base_residual > SAME:
            return "residual"
        return "right"


@dataclass(frozen=True)
class Calibration:
    """All rows, and what they were measured with."""

    rows: tuple[Row, ...]
    budget: str
    images: int
    seconds: float = field(compare=False)

    def counts(self, *, held_out: bool = False) -> dict[str, int]:
        """How often the judge was right, abstained, ...; ``false genuine`` must be 0."""
        rows = [row for row in self.rows if row.held_out or not held_out]
        outcomes = Counter(row.outcome for row in rows)
        false = sum(row.label == "genuine" and "genuine" not in row.right for row in rows)
        return {
            "judged": len(rows),
            "false genuine": false,
            **{name: outcomes[name] for name in ("right", "abstained", "wrong", "residual")},
            "flagged by AutoAttack": sum(bool(row.reference.flags) for row in rows),
        }

    def matrix(self) -> dict[str, dict[str, int]]:
        """Right verdicts (``masked/not-robust``) to how often each was given, and AutoAttack's flags."""
        found: dict[str, dict[str, int]] = {}
        for row in self.rows:
            line = found.setdefault("/".join(row.right), dict.fromkeys((*LABELS, "flagged"), 0))
            line[row.label] += 1
            line["flagged"] += bool(row.reference.flags)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "budget": self.budget,
            "images": self.images,
            "seconds": self.seconds,
            "counts": self.counts(),
            "held_out": self.counts(held_out=True),
            "matrix": self.matrix(),
            "rows": [{**asdict(row), "outcome": row.outcome} for row in self.rows],
        }


def choose(names: Sequence[str]) -> tuple[Defence, ...]:
    """Defences by name; all if none is named.

    Raises:
        ReinforcedError: no such defence.
    """
    known = {defence.name: defence for defence in DEFENCES}
    for name in names:
        if name not in known:
            raise ReinforcedError(f"no defence {name!r}{did_you_mean(name, known)}")
    return tuple(defence for defence in DEFENCES if not names or defence.name in names)


def calibrate(
    folder: Path,
    *,
    seeds: Sequence[int] = SEEDS,
    only: Sequence[str] = (),
    budget: Budget = "standard",
    told: Told,
) -> Calibration:
    """Build the zoo in ``folder``, judge it, and write ``calibration.json`` there.

    Digits: claims are made on test and validation images, and nothing is trained or chosen on either. What
    is there is not done again; verdicts are drawn anew from what was measured.

    Raises:
        ReinforcedError: an unknown defence, or a folder of other checks or data.
        Interrupted: a signal; the same call goes on.
    """
    torch.set_num_threads(1)  # images of 64 pixels are too small to share: a second core only waits
    defences = choose(only)
    images, labels = claim_images()
    began = time.monotonic()
    rows = []
    for number, (seed, defence) in enumerate((seed, one) for seed in seeds for one in defences):
        say = _told_at(f"{number + 1}/{len(seeds) * len(defences)}  seed {seed}  {defence.name}", told)
        if number % len(defences) == 0:
            bases = Bases(folder / "bases")  # the last seed's networks are not needed any more
        bases.told = say
        try:
            row = _judge(defence, seed, bases, images, labels, folder, budget, say)
        except Interrupted as stopped:
            message = f"stopped at {defence.name}, seed {seed}; the same command goes on from there"
            raise Interrupted(message, stopped.exit_code) from None
        rows.append(row)
    found = Calibration(beside_bases(rows), budget, len(labels), round(time.monotonic() - began, 1))
    write_json(folder / "calibration.json", found.to_json())
    return found


def _told_at(place: str, told: Told) -> Told:
    return lambda part: told(f"{place}  {part}")


def claim_images() -> tuple[Tensor, Tensor]:
    """Digits' 300 test and 300 validation images (600, 1, 8, 8) in [0,1], and labels (600,)."""
    dataset = load("digits")
    parts = [split.batch(torch.arange(len(split))) for split in (dataset.test, dataset.validation)]
    images = to_float(torch.cat([stored for stored, _ in parts])).contiguous()
    return images, torch.cat([labels for _, labels in parts])


def beside_bases(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, each with the residual of the defence whose predictions it keeps."""
    residuals = {(row.defence, row.seed): row.residual for row in rows}
    return tuple(
        replace(row, base_residual=residuals.get((row.keeps, row.seed))) if row.keeps else row for row in rows
    )


def _judge(
    defence: Defence,
    seed: int,
    bases: Bases,
    images: Tensor,
    labels: Tensor,
    folder: Path,
    budget: Budget,
    told: Told,
) -> Row:
    model = defence.build(bases, seed)
    control = bases.get("sl", CONTROL + seed)
    here = folder / budget / f"seed{seed}" / defence.name
    with _clock(here / "seconds.json") as seconds:
        found = diagnose(
            model,
            images,
            labels,
            claim=defence.claim,
            control=control,
            smoothed=None if defence.smoothing is None else defence.smoothing.network(bases, seed),
            budget=budget,
            seed=seed,
            out=here / "diagnosis",
            told=told,
        )
        told("AutoAttack")
        reference = _reference(model, images, labels, defence, seed, here)
    certified, defeated = _certified(found)
    return Row(
        defence.name,
        seed,
        str(defence.claim),
        tuple(label for label in LABELS if label in defence.right),
        defence.part == "held out" and seed not in SET_SEEDS,
        found.verdict.label,
        found.verdict.reason,
        found.verdict.claimed.value,
        found.verdict.residual.value,
        reference,
        seconds(),
        defence.keeps,
        certified=certified,
        defeated=defeated,
    )


def _reference(
    model: nn.Module, images: Tensor, labels: Tensor, defence: Defence, seed: int, here: Path
) -> Reference:
    checked = preflight(model, images, labels, [])
    refused = [note.name for note in checked.notes if "gradients" in note.blocks]
    if refused:
        return Reference(None, tuple(f"cannot be run: {name}" for name in refused))

    def run(version: str, count: int) -> tuple[float | None, list[str]]:
        found = evaluate(
            model,
            images[:count],
            labels[:count],
            defence.threat,
            attacks=version,
            seed=seed,
            out=here / f"{version}-{count}",
        )
        assert found is not None  # one shard
        record = found.attacks[0]
        return record.accuracy, [flag.kind for flag in record.flags] + ["crashed"] * bool(
            record.failed_chunks
        )

    if not checked.randomised:
        accuracy, flags = run("autoattack", REFERENCE_IMAGES)
        return Reference(accuracy, tuple(flags))
    accuracy, flags = run("autoattack(version=rand)", REFERENCE_IMAGES)
    flags += run("autoattack", FLAGGED_IMAGES)[1]
    return Reference(accuracy, tuple(dict.fromkeys(flags)))


def _certified(found: Diagnosis) -> tuple[float | None, int]:
    """Share of images certified for the threat's radius, and how many of these are broken within it."""
    for finding in found.findings:
        if finding.check == "certificate" and finding.fired is not None:
            certified, defeated = (int(finding.figures[name] or 0) for name in ("certified", "defeated"))
            return certified / found.verdict.images, defeated
    return None, 0


@contextmanager
def _clock(file: Path) -> Iterator[Callable[[], float]]:
    """Seconds spent inside, over all the calls that it took to finish; a finished count stays."""
    earlier = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"seconds": 0.0}
    began, finished = time.monotonic(), bool(earlier.get("finished"))
    spent = float(earlier["seconds"])
    try:
        yield lambda: spent
        finished_now = True
    except BaseException:
        finished_now = False
        raise
    finally:
        if not finished:
            spent = round(spent + time.monotonic() - began, 1)
            write_json(file, {"seconds": spent, "finished": finished_now})


def table(found: Calibration) -> list[list[str]]:
    """A header and a line a row, as text."""
    lines = [
        [
            "defence",
            "seed",
            "claim",
            "claimed",
            "residual",
            "verdict",
            "right",
            "outcome",
            "AutoAttack",
            "its flags",
            "seconds",
        ]
    ]
    for row in found.rows:
        residual = f"{row.residual:.1%}"
        if row.base_residual is not None:
            residual += f" ({row.keeps}: {row.base_residual:.1%})"
        if row.certified is not None:
            residual += f" (certified {row.certified:.1%}, {row.defeated} defeated)"
        lines.append(
            [
                row.defence + ("" if row.held_out else " *"),
                str(row.seed),
                row.claim,
                f"{row.claimed:.1%}",
                residual,
                row.label,
                "/".join(row.right),
                row.outcome,
                "-" if row.reference.accuracy is None else f"{row.reference.accuracy:.1%}",
                ", ".join(row.reference.flags) or "-",
                f"{row.seconds:.0f}",
            ]
        )
    return lines


def matrix_table(found: Calibration) -> list[list[str]]:
    """A header and a line for each set of right verdicts, as text."""
    lines = [["right", *LABELS, "flagged by AutoAttack"]]
    for right, line in found.matrix().items():
        lines.append([right, *(str(line[label]) for label in LABELS), str(line["flagged"])])
    return lines


def summary(found: Calibration) -> list[str]:
    """Sentences: all rows, and those held out."""
    said = []
    for name, counts in (("all", found.counts()), ("held out", found.counts(held_out=True))):
        said.append(f"{name}: " + ", ".join(f"{number} {what}" for what, number in counts.items()))
    said.append(
        f"{found.images} images, budget {found.budget}, {found.seconds:.0f} s in this call; "
        f"AutoAttack on the first {REFERENCE_IMAGES} images; * thresholds may have been set looking at it"
    )
    return said


def to_markdown(found: Calibration) -> str:
    """The page: table, matrix, counts."""
    parts = ["# Calibration of the judge", *summary(found), _grid(table(found)), _grid(matrix_table(found))]
    return "\n\n".join(parts) + "\n"


def _grid(lines: list[list[str]]) -> str:
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
