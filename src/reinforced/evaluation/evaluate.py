"""Evaluate a model: attacks cheapest first, chunk by chunk, every outcome and example kept on disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.allocator import keep_freed_memory
from reinforced.attacks.base import Attack, AttackSettings, chunk_size, run_attack
from reinforced.attacks.seal import device_of
from reinforced.attacks.threat import ThreatModel
from reinforced.attacks.transfer import Transfer
from reinforced.errors import ReinforcedError
from reinforced.evaluation.answers import answers, bind_answers
from reinforced.evaluation.chunks import Chunk, from_result, load_chunk, save_chunk
from reinforced.evaluation.identity import claim_folder, data_sha256, model_sha256, stored_setup, writing
from reinforced.evaluation.job import Crashes, Job, Told, attempt, folder_name
from reinforced.evaluation.pictures import write_pictures
from reinforced.evaluation.preflight import Preflight, preflight
from reinforced.evaluation.records import (
    AS_RELEASED,
    Control,
    Evaluation,
    Matrix,
    gather,
    interval,
    of_autoattack,
    read_evaluation,
    summarise,
)
from reinforced.evaluation.released import conclude_released, released_done, run_released
from reinforced.evaluation.suites import choose_attacks
from reinforced.files import atomic, write_json

RANDOM_DRAWS = 100
CONTROL_LIMIT = 0.10


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
    chunk: int | None = None,
    control: nn.Module | None = None,
    out: Path | None = None,
    shard: tuple[int, int] = (1, 1),
    told: Told | None = None,
) -> Evaluation | None:
    """Robust accuracy of any module, as the per-image worst case over attacks.

    Chunk by chunk each attack runs on the images that still stand, cheapest first; AutoAttack
    always runs on all rightly classified ones, for its own figure. What is on disk is not done again, so a
    killed evaluation goes on where it was and gives the same matrix, and shards merge by themselves.

    Args:
        model: [0,1] images (N, C, H, W) to logits (N, K), in eval mode; left as it was.
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64.
        threat: what the attacker may do.
        attacks: ``quick``, ``standard``, ``full``, or names with options. ``pgd-as-released`` runs beside
            them, on all images in batches of 128, and counts for ``as_released`` alone.
        transfers: attacks that bring their own surrogates, run after the others.
        seed: decides every draw, together with attack and chunk.
        run_all: every attack on every rightly classified image, broken earlier or not.
        chunk: images a chunk; left out, those of what ``out`` holds, else 64 on a CPU and up to 256 on a GPU.
        control: an undefended model that the same attacks must break.
        out: the evaluation's folder; a temporary one if left out.
        shard: (i, n): do only the i-th of n shares of the chunks (and of the batches), i from 1.
        told: called with attack, chunk and images broken as each part ends.

    Returns:
        The evaluation, or ``None`` where other shards are still to run.

    Raises:
        ReinforcedError: bad inputs (see :func:`~reinforced.evaluation.preflight.preflight`), an attack that
            cannot work here, or a folder that holds another evaluation.
    """
    if not 1 <= shard[0] <= shard[1]:
        raise ReinforcedError(f"shard {shard[0]}/{shard[1]}: write i/n with i from 1 to n")
    sealed, released = asked = choose_attacks(attacks, threat)
    checked = preflight(model, images, labels, [*sealed, *released])
    if device_of(model).type == "cpu":
        keep_freed_memory()
    if released and checked.randomised:
        raise ReinforcedError(
            f"attack {released[0].name}: predicts once, which proves nothing on a randomised model: omit it"
        )
    draws = RANDOM_DRAWS if checked.randomised else 1
    chosen: list[Attack] = [*asked.suited(draws), *transfers]
    _require_own_folders([*(attack.name for attack in chosen), *(attack.name for attack in released)])
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        size = chunk_size(_chunk_of(folder) if chunk is None else chunk, images, device_of(model))
        job = Job(model, images, labels, threat, chosen, released, seed, run_all, draws, size, folder)
        stack.enter_context(writing(folder))
        setup = _claim(job)
        if not checked.randomised:
            bind_answers(folder, answers(model, images, threat), "evaluation")
        beside = run_released(job, shard, told or _silent)
        errors = _run(job, shard, told or _silent)
        if not (released_done(job, beside) and _done(job, errors)):
            return None
        found = _conclude(job, checked, setup, errors, beside)
        known = _control(control, job, sealed, chunk) if control is not None else _known_control(job.folder)
        found = replace(found, control=known)
        write_json(folder / "evaluation.json", found.to_json())
        return found


def _require_own_folders(names: Sequence[str]) -> None:
    """Two attacks in one folder would share their chunks.

    Raises:
        ReinforcedError: two names make one folder.
    """
    owners: dict[str, str] = {}
    for name in names:
        other = owners.setdefault(folder_name(name), name)
        if other != name or names.count(name) > 1:
            raise ReinforcedError(
                f"attacks {other} and {name} would share the folder {folder_name(name)}: omit one, or rename "
                "a surrogate"
            )


def _chunk_of(folder: Path) -> int | None:
    """Images a chunk of what a folder holds, which another machine may have begun."""
    there = (stored_setup(folder, "evaluation") or {}).get("chunk")
    return there if isinstance(there, int) else None


def _claim(job: Job) -> dict[str, Any]:
    """Write what decides the outcome, or check that the folder's is the same."""
    setup: dict[str, Any] = {
        "reinforced": metadata.version("reinforced"),
        "threat": str(job.threat),
        "attacks": [attack.name for attack in job.attacks],
        "seed": job.seed,
        "chunk": job.chunk,
        "run_all": job.run_all,
        "draws": job.draws,
        "model_sha256": model_sha256(job.model),
        "data_sha256": data_sha256(job.images, job.labels),
    }
    lent = {
        name: model_sha256(surrogate)
        for attack in job.attacks
        if isinstance(attack, Transfer)
        for name, surrogate in attack.surrogates.items()
    }
    if lent:
        setup["surrogates"] = lent
    if job.released:
        setup["as_released"] = [attack.name for attack in job.released]
    setup["sha256"] = hashlib.sha256(json.dumps(setup, sort_keys=True).encode()).hexdigest()
    claim_folder(job.folder, setup, "evaluation")
    return setup


def _silent(attack: str, chunk: int, broken: int) -> None:
    """Tell nobody."""


def _run(job: Job, shard: tuple[int, int], told: Told) -> Crashes:
    """Do what is missing of this shard; gives the crashes by attack and chunk."""
    crashes: Crashes = {}
    for number in range(shard[0] - 1, job.count(), shard[1]):
        rows = job.rows(number)
        standing = torch.ones(rows.stop - rows.start, dtype=torch.bool)
        for attack in job.attacks:
            part = job.part(attack.name, number)
            if not part.is_file():
                everything = _everywhere(job, attack)
                run = partial(
                    run_attack,
                    attack,
                    job.model,
                    job.images[rows],
                    job.labels[rows],
                    job.threat,
                    seed=job.seed,
                    standing=None if everything else standing,
                    draws=job.draws,
                    chunk=job.chunk,
                    first_chunk=number,
                )
                result = attempt(run, attack.name, number, crashes, told)
                if result is None:
                    continue
                save_chunk(part, from_result(result))
            chunk = load_chunk(part)
            told(attack.name, number, int((chunk.attacked & ~chunk.robust).sum()))
            # Of what it did not attack it may say otherwise by other draws alone.
            standing &= chunk.robust | ~chunk.attacked
    return crashes


def _everywhere(job: Job, attack: Attack) -> bool:
    """Whether it is let loose on images that others have broken, too."""
    return job.run_all or getattr(attack, "kind", "") == "autoattack"


def _done(job: Job, crashes: Crashes) -> bool:
    return all(
        job.part(attack.name, number).is_file() or number in crashes.get(attack.name, {})
        for attack in job.attacks
        for number in range(job.count())
    )


def _conclude(
    job: Job, checked: Preflight, setup: dict[str, Any], errors: Crashes, beside: Crashes
) -> Evaluation:
    chunks: dict[str, list[Chunk | None]] = {
        attack.name: [
            load_chunk(part) if (part := job.part(attack.name, number)).is_file() else None
            for number in range(job.count())
        ]
        for attack in job.attacks
    }
    sizes = [job.rows(number).stop - job.rows(number).start for number in range(job.count())]
    if any(all(column[number] is None for column in chunks.values()) for number in range(job.count())):
        first = next(iter(errors.values()))
        raise ReinforcedError(f"every attack crashed on a chunk; the first said {next(iter(first.values()))}")
    matrix = gather(chunks, sizes)
    whole = {attack.name for attack in job.attacks if _everywhere(job, attack)}
    records = summarise(matrix, chunks, errors, whole)
    accuracy, bounds = interval(matrix.worst)
    claims = conclude_released(job, matrix.clean, beside)
    after = {claim.record.name: claim.correct for claim in claims}
    write_outcomes(job.folder / "outcomes.parquet", matrix, job.labels, after)
    write_pictures(job, chunks)
    digests = [[None if chunk is None else chunk.sha256 for chunk in column] for column in chunks.values()]
    return Evaluation(
        str(job.threat),
        len(job.images),
        float(matrix.clean.float().mean()),
        accuracy,
        bounds,
        of_autoattack(records, job.draws),
        records,
        tuple(claim.record for claim in claims),
        checked.notes,
        bool(errors),
        None,
        hashlib.sha256(json.dumps(digests).encode()).hexdigest(),
        {**setup, "chunk_sha256": dict(zip(chunks, digests, strict=True))},
    )


def _control(control: nn.Module, job: Job, attacks: Sequence[AttackSettings], chunk: int | None) -> Control:
    """Run the same attacks on the undefended control, in a folder beside."""
    found = evaluate(
        control,
        job.images,
        job.labels,
        job.threat,
        attacks=[attack.name for attack in attacks],
        seed=job.seed,
        chunk=chunk,
        out=job.folder / "control",
    )
    assert found is not None
    return Control(found.robust_accuracy, found.robust_accuracy <= CONTROL_LIMIT)


def _known_control(folder: Path) -> Control | None:
    """What an earlier call found of a control; a later one without it does not unsay that."""
    try:
        control = read_evaluation(folder)["control"]
    except ReinforcedError:  # none yet, or a damaged one, which is about to be written anew
        return None
    return None if control is None else Control(**control)


def write_outcomes(
    path: Path, matrix: Matrix, labels: Tensor, as_released: Mapping[str, Sequence[bool | None]]
) -> None:
    """The matrix as a Parquet table, a row an image; what is ``as_released`` in columns that say so."""
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
    for name, correct in as_released.items():
        columns[f"{name} ({AS_RELEASED})"] = correct
    with atomic(path) as temporary:
        pq.write_table(pa.table(columns), temporary)
