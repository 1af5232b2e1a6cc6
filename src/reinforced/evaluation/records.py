"""What an evaluation found, as plain values: per attack, per image, and as a whole."""

from __future__ import annotations

import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from reinforced.attacks.base import Flag, merged
from reinforced.attacks.intervals import clopper_pearson
from reinforced.errors import ReinforcedError
from reinforced.evaluation.chunks import Chunk
from reinforced.evaluation.preflight import Note

AS_RELEASED = "as released, unclipped: not in the worst case"
"""What is said of the released procedure wherever its figures are."""


@dataclass(frozen=True)
class AttackRecord:
    """One attack over all images.

    Attributes:
        attacked, broken: images it was let loose on, and those it broke.
        only: images that no other attack of the evaluation broke.
        accuracy: accuracy left by this attack alone; ``None`` where it skipped images broken earlier.
        median_distance: over the images it broke, in the threat's norm; ``None`` if it broke none.
        median_unprojected: a minimum-norm attack's own median distance over all attacked images.
        forwards, gradients: passes, in images.
        elsewhere: passes on surrogates, in images.
        flags: the attack's doubts about its own result, one a kind.
        failed_chunks: chunks in which it crashed, with the error.
    """

    name: str
    attacked: int
    broken: int
    only: int
    accuracy: float | None
    median_distance: float | None
    median_unprojected: float | None
    forwards: int
    gradients: int
    elsewhere: int
    flags: tuple[Flag, ...]
    seconds: float
    failed_chunks: dict[int, str]


@dataclass(frozen=True)
class ReleasedRecord:
    """What the released procedure claims: it counts by itself, and no figure of the attacks knows of it.

    Attributes:
        mark: :data:`AS_RELEASED`.
        threat: the ball without the box, ``unclipped l2:1``.
        batch: images a batch, part of the procedure.
        images: all of them, misclassified ones too.
        broken: rightly classified before, wrongly afterwards.
        accuracy: share of all images classified rightly afterwards, with its 95 % Clopper-Pearson
            ``interval``; ``None`` where a batch crashed.
        outside: share of its images that left [0,1].
        median_step: length of its steps over the nominal one, median over images and steps: 1 where the
            faults do not bite.
        forwards, gradients: passes, in images.
        failed_batches: batches in which it crashed, with the error.
        batch_sha256: hashes of the batches, in order; ``sha256`` is theirs together.
    """

    name: str
    mark: str
    threat: str
    batch: int
    images: int
    broken: int
    accuracy: float | None
    interval: tuple[float, float] | None
    outside: float | None
    median_step: float | None
    forwards: int
    gradients: int
    seconds: float
    failed_batches: dict[int, str]
    batch_sha256: tuple[str | None, ...]
    sha256: str


READ_OF_SETUP = ("seed", "chunk", "run_all", "draws", "model_sha256", "data_sha256", "sha256")
"""Fields of an evaluation's ``setup`` that its readers count on, beside its ``attacks``."""
OPTIONAL = {"as_released", "notes"}
"""Fields of ``evaluation.json`` that a record from before they were written still reads without."""


@dataclass(frozen=True)
class Control:
    """The undefended control under the same budget.

    Attributes:
        robust_accuracy: what the attacks left of it.
        broken: whether that is at most 10 %, so that the attacks have proved able to break something.
    """

    robust_accuracy: float
    broken: bool


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        threat: in the form ``linf:8/255``.
        images: how many were evaluated.
        clean_accuracy: before any attack.
        robust_accuracy: share of images that withstood every attack (the per-image worst case).
        interval: its 95 % Clopper-Pearson interval.
        autoattack_accuracy: left by AutoAttack's own cascade over all rightly classified images.
        attacks: in the order they ran.
        as_released: what the released procedure claims; in no other figure and no other hash.
        incomplete: an attack crashed somewhere, so the figures are upper bounds.
        matrix_sha256: hash of the outcomes of every image under every attack.
        setup: everything that decided the outcome, and its hash under ``sha256``.
    """

    threat: str
    images: int
    clean_accuracy: float
    robust_accuracy: float
    interval: tuple[float, float]
    autoattack_accuracy: float | None
    attacks: tuple[AttackRecord, ...]
    as_released: tuple[ReleasedRecord, ...]
    notes: tuple[Note, ...]
    incomplete: bool
    control: Control | None
    matrix_sha256: str
    setup: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``evaluation.json``."""
        return asdict(self)


def read_evaluation(folder: Path) -> dict[str, Any]:
    """The plain values of a finished evaluation.

    Raises:
        ReinforcedError: there is none in the folder, or it is damaged.
    """
    file = folder / "evaluation.json"
    if not file.is_file():
        raise ReinforcedError(f"no finished evaluation in {folder} (it has no evaluation.json)")
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ReinforcedError(f"{file}: damaged (not JSON); evaluate again") from None
    if not _whole(values):
        raise ReinforcedError(f"{file}: damaged (a field is missing or strange); evaluate again")
    return values


def _whole(values: Any) -> bool:
    """Whether every field that readers count on is there, and each attack by the same name everywhere."""
    try:
        setup = values["setup"]
        names = [one["name"] for one in values["attacks"] if "accuracy" in one]
        return (
            {field.name for field in fields(Evaluation)} - OPTIONAL <= set(values)
            and set(READ_OF_SETUP) <= set(setup)
            and names == list(setup["attacks"]) == list(setup["chunk_sha256"])
        )
    except (KeyError, TypeError):
        return False


@dataclass(frozen=True)
class Matrix:
    """Image x attack.

    Attributes:
        clean: (N,) bool, rightly classified before any attack.
        attacked, robust: attack name -> (N,) bool.
        distances, unprojected: attack name -> (N,) float32.
    """

    clean: Tensor
    attacked: dict[str, Tensor]
    robust: dict[str, Tensor]
    distances: dict[str, Tensor]
    unprojected: dict[str, Tensor]

    @property
    def worst(self) -> Tensor:
        """(N,) bool: right under every attack."""
        worst = self.clean.clone()
        for robust in self.robust.values():
            worst &= robust
        return worst


def gather(chunks: Mapping[str, Sequence[Chunk | None]], sizes: Sequence[int]) -> Matrix:
    """The matrix of every attack's chunks in order; a failed chunk (``None``) leaves its images standing."""
    known = [next(c for c in column if c is not None) for column in zip(*chunks.values(), strict=True)]
    clean = torch.cat([chunk.clean_correct for chunk in known])

    def joined(name: str, field: str, fallback: float | bool) -> Tensor:
        parts = [
            torch.full((size,), fallback) if chunk is None else getattr(chunk, field)
            for chunk, size in zip(chunks[name], sizes, strict=True)
        ]
        return torch.cat(parts)

    attacked = {name: joined(name, "attacked", False) for name in chunks}
    return Matrix(
        clean,
        attacked,
        # A randomised model is asked anew before each attack: what that one did not attack it did not break.
        {name: (joined(name, "robust", True) | ~attacked[name]) & clean for name in chunks},
        {name: joined(name, "distances", 0.0) for name in chunks},
        {name: joined(name, "unprojected", math.nan) for name in chunks},
    )


def summarise(
    matrix: Matrix,
    chunks: Mapping[str, Sequence[Chunk | None]],
    errors: Mapping[str, Mapping[int, str]],
    everywhere: Container[str],
) -> tuple[AttackRecord, ...]:
    """A record an attack; those ``everywhere`` were let loose on all that was right in their own draws."""
    broken = {name: matrix.clean & ~robust for name, robust in matrix.robust.items()}
    times_broken = torch.stack(list(broken.values())).sum(0)
    return tuple(
        AttackRecord(
            name,
            attacked=int(matrix.attacked[name].sum()),
            broken=int(broken[name].sum()),
            only=int((broken[name] & (times_broken == 1)).sum()),
            accuracy=(
                float(matrix.robust[name].float().mean())
                if torch.equal(matrix.attacked[name], matrix.clean)
                or (name in everywhere and not errors.get(name))
                else None
            ),
            median_distance=_median(matrix.distances[name][broken[name]]),
            median_unprojected=_median(
                matrix.unprojected[name][matrix.attacked[name] & ~matrix.unprojected[name].isnan()]
            ),
            forwards=sum(chunk.forwards for chunk in chunks[name] if chunk is not None),
            gradients=sum(chunk.gradients for chunk in chunks[name] if chunk is not None),
            elsewhere=sum(chunk.elsewhere for chunk in chunks[name] if chunk is not None),
            flags=merged([flag for chunk in chunks[name] if chunk is not None for flag in chunk.flags]),
            seconds=sum(chunk.seconds for chunk in chunks[name] if chunk is not None),
            failed_chunks=dict(errors.get(name, {})),
        )
        for name in chunks
    )


def of_autoattack(records: Sequence[AttackRecord], draws: int) -> float | None:
    """What AutoAttack left, the least of several; its version for randomised models counts only there."""
    left = [
        record.accuracy
        for record in records
        if record.name.startswith("autoattack")
        and record.accuracy is not None
        and (draws > 1 or "version=rand" not in record.name)
    ]
    return min(left, default=None)


def interval(robust: Tensor) -> tuple[float, tuple[float, float]]:
    """Share of (N,) bool that is true, with its 95 % Clopper-Pearson interval."""
    count = int(robust.sum())
    return count / len(robust), clopper_pearson(count, len(robust))


def _median(values: Tensor) -> float | None:
    if not len(values):
        return None
    median = float(values.median())
    return median if math.isfinite(median) else None
