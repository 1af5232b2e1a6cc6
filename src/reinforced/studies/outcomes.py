"""What a run's evaluations say of its checkpoints, image by image."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from reinforced.errors import ReinforcedError
from reinforced.evaluation.records import read_evaluation
from reinforced.studies.trained import Trained
from reinforced.studies.weights import weights_sha256
from reinforced.training.run import RunDirectory

Mask = NDArray[np.bool_]


class Terms(NamedTuple):
    """What evaluations must share to be compared: the threat, the images, the attacks and how they ran."""

    threat: str
    data_sha256: str
    attacks: tuple[str, ...]
    seed: int
    run_all: bool


@dataclass(frozen=True, eq=False)
class Outcome:
    """One checkpoint of a run under one evaluation.

    Attributes:
        epoch: the checkpoint's; 0 for an imported policy.
        clean, robust: (N,) whether an image is right before any attack, and under every one.
        autoattack: share left by AutoAttack's own cascade.
        doubts: what the evaluation says against its own figure.
    """

    folder: Path
    epoch: int
    terms: Terms
    clean: Mask
    robust: Mask
    autoattack: float | None
    doubts: tuple[str, ...]


def epoch_of(run: Trained, checkpoint: str) -> int | None:
    """The epoch of ``last``, of ``best``, or of a kept epoch's number."""
    if checkpoint.isdecimal():
        return int(checkpoint)
    return run.best if checkpoint == "best" else run.last


def find_outcomes(run: Trained) -> tuple[list[Outcome], list[str]]:
    """The finished evaluations in a run's directory of weights it still has, and what to say of the others.

    Raises:
        ReinforcedError: a damaged evaluation.
    """
    found: list[Outcome] = []
    notes: list[str] = []
    # No deeper: an evaluation's own control lies inside it.
    for file in sorted((run.path / "evaluations").glob("*/*/evaluation.json")):
        folder, record = file.parent, read_evaluation(file.parent)
        try:
            checkpoint, note = _checkpoint(run, folder, record["setup"]["model_sha256"])
            if note:
                notes.append(note)
            epoch = None if checkpoint is None else epoch_of(run, checkpoint)
            if epoch is not None:
                found.append(_outcome(folder, epoch, record))
        except (KeyError, TypeError):
            raise ReinforcedError(f"{file}: damaged (a field is missing); evaluate again") from None
    return found, notes


def _outcome(folder: Path, epoch: int, record: dict[str, Any]) -> Outcome:
    setup = record["setup"]
    terms = Terms(
        record["threat"], setup["data_sha256"], tuple(setup["attacks"]), setup["seed"], setup["run_all"]
    )
    clean, robust = read_columns(folder / "outcomes.parquet", "clean_correct", "robust")
    if len(robust) != record["images"] or abs(robust.mean() - record["robust_accuracy"]) > 1e-6:
        raise ReinforcedError(f"{folder}: outcomes.parquet and evaluation.json disagree; evaluate again")
    doubts = []
    if record["incomplete"]:
        doubts.append("INCOMPLETE, an attack crashed: the robust accuracy is an upper bound")
    control = record["control"]
    if control is not None and not control["broken"]:
        doubts.append(f"the same attacks leave {control['robust_accuracy']:.1%} of the undefended control")
    return Outcome(folder, epoch, terms, clean, robust, record["autoattack_accuracy"], tuple(doubts))


def image_outcomes(folder: Path, column: str, share: float) -> Mask:
    """One column of an evaluation's outcomes, (N,): ``robust``, or what an attack left.

    Raises:
        ReinforcedError: they are damaged, or another share than its record says.
    """
    (mask,) = read_columns(folder / "outcomes.parquet", column)
    if not len(mask) or abs(mask.mean() - share) > 1e-6:
        raise ReinforcedError(f"{folder}: outcomes.parquet and evaluation.json disagree; evaluate again")
    return mask


def read_columns(file: Path, *names: str) -> list[Mask]:
    """Columns of an ``outcomes.parquet``, each (N,); an image that an attack was not run on is not right.

    Raises:
        ReinforcedError: it is damaged, or has no such column.
    """
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(file, columns=list(names))
        found = [table.column(name).to_numpy() for name in names]
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ReinforcedError(f"{file}: damaged ({str(error).splitlines()[0]}); evaluate again") from None
    return [one.astype(np.bool_) for one in found]


def _checkpoint(run: Trained, folder: Path, sha256: str) -> tuple[str | None, str]:
    """Whose weights an evaluation is of, and what to say of that; ``None`` where the run has them no more."""
    file = folder / "subject.json"
    try:
        said = json.loads(file.read_text(encoding="utf-8"))["checkpoint"] if file.is_file() else None
    except ValueError:
        raise ReinforcedError(f"{file}: damaged (not JSON); delete it and evaluate again") from None
    kept = [str(epoch) for epoch in RunDirectory(run.path).kept_epochs]
    for checkpoint in dict.fromkeys([*([said] if said else []), "last", "best", *kept]):
        known = weights_sha256(run.path, checkpoint)
        if known == sha256:
            return checkpoint, ""
        if known is None and checkpoint == said:
            return said, f"{folder}: {run.name}'s {said} weights cannot be loaded to see that it is of them"
    return None, (
        f"{folder} is left out: it is of weights that {run.name} has no more (trained on since?); "
        "move it away and evaluate again"
    )
