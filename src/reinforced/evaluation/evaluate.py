"""Evaluate a model: attacks cheapest first, chunk by chunk, every outcome and example kept on disk."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.base import CHUNK, Attack, AttackSettings, run_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.evaluation.chunks import Chunk, from_result, load_chunk, save_chunk
from reinforced.evaluation.preflight import Preflight, preflight
from reinforced.evaluation.records import Control, Evaluation, Matrix, gather, interval, summarise
from reinforced.evaluation.suites import choose_attacks
from reinforced.files import atomic, write_json

RANDOM_DRAWS = 100
CONTROL_LIMIT = 0.10
Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Job:
    """An evaluation's inputs, and where its parts lie."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    attacks: Sequence[Attack]
    seed: int
    run_all: bool
    draws: int
    folder: Path

    @property
    def chunks(self) -> int:
        """How many chunks of 64 images there are."""
        return math.ceil(len(self.images) / CHUNK)

    def rows(self, number: int) -> slice:
        """The images of a chunk."""
        return slice(number * CHUNK, min((number + 1) * CHUNK, len(self.images)))

    def part(self, attack: Attack, number: int) -> Path:
        """Where an attack's outcome on a chunk lies."""
        return self.folder / folder_name(attack.name) / f"chunk-{number:04d}.npz"


def evaluate(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    attacks: str | Sequence[str] = "standard",
    transfers: Sequence[Attack] = (),
    seed: int = 0,
    run_all: bool = False,
    control: nn.Module | None = None,
    out: Path | None = None,
    shard: tuple[int, int] = (1, 1),
    told: Told | None = None,
) -> Evaluation | None:
    """Robust accuracy of any module, as the per-image worst case over attacks.

    Chunk by chunk (64 images) each attack runs on the images that still stand, cheapest first; AutoAttack
    always runs on all rightly classified ones, for its own figure. What is on disk is not done again, so a
    killed evaluation goes on where it was and gives the same matrix, and shards merge by themselves.

    Args:
        model: [0,1] images (N, C, H, W) to logits (N, K), in eval mode; left as it was.
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64.
        threat: what the attacker may do.
        attacks: ``quick``, ``standard``, ``full``, or names with options.
        transfers: attacks that bring their own surrogates, run after the others.
        seed: decides every draw, together with attack and chunk.
        run_all: every attack on every rightly classified image, broken earlier or not.
        control: an undefended model that the same attacks must break.
        out: the evaluation's folder; a temporary one if left out.
        shard: (i, n): do only the i-th of n shares of the chunks, i from 1.
        told: called with attack, chunk and images broken as each part ends.

    Returns:
        The evaluation, or ``None`` where other shards are still to run.

    Raises:
        ReinforcedError: bad inputs (see :func:`~reinforced.evaluation.preflight.preflight`), an attack that
            cannot work here, or a folder that holds another evaluation.
    """
    if not 1 <= shard[0] <= shard[1]:
        raise ReinforcedError(f"shard {shard[0]}/{shard[1]}: write i/n with i from 1 to n")
    named = choose_attacks(attacks, threat)
    checked = preflight(model, images, labels, named)
    chosen: list[Attack] = [*named, *transfers]
    draws = RANDOM_DRAWS if checked.randomised else 1
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        job = Job(model, images, labels, threat, chosen, seed, run_all, draws, folder)
        setup = _claim(job)
        errors = _run(job, shard, told or _silent)
        if not all(_done(job, number, errors) for number in range(job.chunks)):
            return None
        found = _conclude(job, checked, setup, errors)
        if control is not None:
            found = replace(found, control=_control(control, job, named))
        write_json(folder / "evaluation.json", found.to_json())
        return found


def folder_name(name: str) -> str:
    """An attack's or threat's name as a folder: ``pgd(steps=100)`` to ``pgd-steps-100``."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip("-").replace("--", "-")


def _claim(job: Job) -> dict[str, Any]:
    """Write what decides the outcome, or check that the folder's is the same."""
    digest = hashlib.sha256()
    for name, tensor in job.model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    data = hashlib.sha256(job.images.cpu().contiguous().numpy().tobytes())
    data.update(job.labels.cpu().numpy().tobytes())
    setup: dict[str, Any] = {
        "reinforced": metadata.version("reinforced"),
        "threat": str(job.threat),
        "attacks": [attack.name for attack in job.attacks],
        "seed": job.seed,
        "chunk": CHUNK,
        "run_all": job.run_all,
        "draws": job.draws,
        "model_sha256": digest.hexdigest(),
        "data_sha256": data.hexdigest(),
    }
    setup["sha256"] = hashlib.sha256(json.dumps(setup, sort_keys=True).encode()).hexdigest()
    file = job.folder / "setup.json"
    if file.is_file():
        try:
            there = json.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            raise ReinforcedError(
                f"{file}: damaged (not JSON); delete the folder and evaluate again"
            ) from None
        differing = [key for key in setup if there.get(key) != setup[key]]
        if differing:
            raise ReinforcedError(
                f"{job.folder} holds another evaluation ({differing[0]} differs); choose another folder"
            )
    else:
        write_json(file, setup)
    return setup


def _silent(attack: str, chunk: int, broken: int) -> None:
    """Tell nobody."""


def _run(job: Job, shard: tuple[int, int], told: Told) -> dict[str, dict[int, str]]:
    """Do what is missing of this shard; gives the crashes by attack and chunk."""
    errors: dict[str, dict[int, str]] = {}
    for number in range(shard[0] - 1, job.chunks, shard[1]):
        rows = job.rows(number)
        standing = torch.ones(rows.stop - rows.start, dtype=torch.bool)
        for attack in job.attacks:
            part = job.part(attack, number)
            if not part.is_file():
                everything = job.run_all or getattr(attack, "kind", "") == "autoattack"
                try:
                    result = run_attack(
                        attack,
                        job.model,
                        job.images[rows],
                        job.labels[rows],
                        job.threat,
                        seed=job.seed,
                        standing=None if everything else standing,
                        draws=job.draws,
                        first_chunk=number,
                    )
                except ReinforcedError:
                    raise
                except Exception as error:  # an attack's crash must cost its chunk alone
                    errors.setdefault(attack.name, {})[number] = f"{type(error).__name__}: {error}"
                    told(attack.name, number, -1)
                    continue
                save_chunk(part, from_result(result))
            chunk = load_chunk(part)
            told(attack.name, number, int((chunk.clean_correct & ~chunk.robust).sum()))
            standing &= chunk.robust
    return errors


def _done(job: Job, number: int, errors: dict[str, dict[int, str]]) -> bool:
    return all(
        job.part(attack, number).is_file() or number in errors.get(attack.name, {}) for attack in job.attacks
    )


def _conclude(
    job: Job, checked: Preflight, setup: dict[str, Any], errors: dict[str, dict[int, str]]
) -> Evaluation:
    chunks: dict[str, list[Chunk | None]] = {
        attack.name: [
            load_chunk(part) if (part := job.part(attack, number)).is_file() else None
            for number in range(job.chunks)
        ]
        for attack in job.attacks
    }
    sizes = [job.rows(number).stop - job.rows(number).start for number in range(job.chunks)]
    if any(all(column[number] is None for column in chunks.values()) for number in range(job.chunks)):
        first = next(iter(errors.values()))
        raise ReinforcedError(f"every attack crashed on a chunk; the first said {next(iter(first.values()))}")
    matrix = gather(chunks, sizes)
    records = summarise(matrix, chunks, errors)
    accuracy, bounds = interval(matrix.worst)
    own = [record.accuracy for record in records if record.name.startswith("autoattack")]
    write_outcomes(job.folder / "outcomes.parquet", matrix, job.labels)
    digests = [[None if chunk is None else chunk.sha256 for chunk in column] for column in chunks.values()]
    return Evaluation(
        str(job.threat),
        len(job.images),
        float(matrix.clean.float().mean()),
        accuracy,
        bounds,
        own[0] if own else None,
        records,
        checked.notes,
        bool(errors),
        None,
        hashlib.sha256(json.dumps(digests).encode()).hexdigest(),
        {**setup, "chunk_sha256": dict(zip(chunks, digests, strict=True))},
    )


def _control(control: nn.Module, job: Job, attacks: Sequence[AttackSettings]) -> Control:
    """Run the same attacks on the undefended control, in a folder beside."""
    found = evaluate(
        control,
        job.images,
        job.labels,
        job.threat,
        attacks=[attack.name for attack in attacks],
        seed=job.seed,
        out=job.folder / "control",
    )
    assert found is not None
    return Control(found.robust_accuracy, found.robust_accuracy <= CONTROL_LIMIT)


def write_outcomes(path: Path, matrix: Matrix, labels: Tensor) -> None:
    """The matrix as a Parquet table, a row an image."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns: dict[str, Any] = {
        "image": range(len(labels)),
        "label": labels.tolist(),
        "clean_correct": matrix.clean.tolist(),
        "robust": matrix.worst.tolist(),
    }
    for name, robust in matrix.robust.items():
        attacked = matrix.attacked[name]
        outcomes = zip(robust.tolist(), attacked.tolist(), strict=True)
        columns[name] = [right if ran else None for right, ran in outcomes]
        columns[f"{name} distance"] = matrix.distances[name].tolist()
    with atomic(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
