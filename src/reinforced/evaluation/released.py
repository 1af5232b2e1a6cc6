"""The released PGD within an evaluation: every image, batches of 128, its own threat, in no other figure.

Nothing is dropped, so its batches depend on nothing else: they are resumed and dealt to shards by themselves,
whatever the borders of the attacks' chunks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from reinforced.attacks.pgd_as_released import BATCH, PGDAsReleased, ReleasedResult, unclipped
from reinforced.errors import ReinforcedError
from reinforced.evaluation.chunks import Part, digest, read_part, write_part
from reinforced.evaluation.job import Crashes, Job, Told, attempt, folder_name
from reinforced.evaluation.records import AS_RELEASED, ReleasedRecord, interval

KIND = "batch"
"""Its files are named otherwise than the attacks' chunks, which hold other images."""
STALLED = 0.01
"""A median step below this share of the nominal one: the procedure has not moved."""
_TENSORS = ("correct", "outside", "gradient_norms", "step_ratios", "adversarial")


class Claim(NamedTuple):
    """A record, and per image whether it was right afterwards; ``None`` where a batch crashed."""

    record: ReleasedRecord
    correct: Sequence[bool | None]


def run_released(job: Job, shard: tuple[int, int], told: Told) -> Crashes:
    """Do what is missing of this shard; gives the crashes by attack and batch."""
    crashes: Crashes = {}
    for number in range(shard[0] - 1, job.count(BATCH), shard[1]):
        rows = job.rows(number, BATCH)
        for attack in job.released:
            file = job.part(attack.name, number, KIND)
            if not file.is_file():
                run = partial(
                    attack.run,
                    job.model,
                    job.images[rows],
                    job.labels[rows],
                    job.threat,
                    seed=job.seed,
                    first_batch=number,
                )
                result = attempt(run, attack.name, number, crashes, told)
                if result is None:
                    continue
                write_part(file, _part(result))
            told(attack.name, number, int((~read_part(file, _TENSORS).tensors["correct"]).sum()))
    return crashes


def released_done(job: Job, crashes: Crashes) -> bool:
    """Whether every batch is there, or crashed."""
    return all(
        job.part(attack.name, number, KIND).is_file() or number in crashes.get(attack.name, {})
        for attack in job.released
        for number in range(job.count(BATCH))
    )


def conclude_released(job: Job, clean: Tensor, crashes: Crashes) -> list[Claim]:
    """What each procedure claims; ``clean`` (N,) bool says which images were right before."""
    return [_claim(job, attack, clean, crashes.get(attack.name, {})) for attack in job.released]


def stalled(folder: Path, claim: Mapping[str, Any]) -> Tensor:
    """Of a finished evaluation's images (N,), those left right on which the procedure stalled.

    Args:
        folder: the evaluation's.
        claim: one of its record's ``as_released``, of which no batch crashed.

    Raises:
        ReinforcedError: a batch is missing or damaged, or not the one that was counted.
    """
    found = []
    for number, sha256 in enumerate(claim["batch_sha256"]):
        file = folder / folder_name(claim["name"]) / f"{KIND}-{number:04d}.npz"
        part = read_part(file, _TENSORS)
        if part.sha256 != sha256:
            raise ReinforcedError(f"{file}: not the batch that evaluation.json counts; evaluate again")
        medians = part.tensors["step_ratios"].median(dim=0).values
        found.append(part.tensors["correct"] & (medians < STALLED))
    return torch.cat(found)


def _claim(job: Job, attack: PGDAsReleased, clean: Tensor, failed: dict[int, str]) -> Claim:
    files = [job.part(attack.name, number, KIND) for number in range(job.count(BATCH))]
    parts = [read_part(file, _TENSORS) if file.is_file() else None for file in files]
    correct: list[bool | None] = []
    for number, part in enumerate(parts):
        rows = job.rows(number, BATCH)
        correct += [None] * (rows.stop - rows.start) if part is None else part.tensors["correct"].tolist()
    there = [part for part in parts if part is not None]
    whole = len(there) == len(parts)
    accuracy, bounds = interval(torch.tensor(correct)) if whole else (None, None)
    spent = [json.loads(part.said) for part in there]
    hashes = tuple(None if part is None else part.sha256 for part in parts)
    record = ReleasedRecord(
        name=attack.name,
        mark=AS_RELEASED,
        threat=unclipped(job.threat),
        batch=BATCH,
        images=len(job.images),
        broken=sum(before and after is False for before, after in zip(clean.tolist(), correct, strict=True)),
        accuracy=accuracy,
        interval=bounds,
        outside=float(_joined(there, "outside").double().mean()) if whole else None,
        median_step=float(_joined(there, "step_ratios").median()) if whole else None,
        forwards=sum(passes["forwards"] for passes in spent),
        gradients=sum(passes["gradients"] for passes in spent),
        seconds=sum(part.seconds for part in there),
        failed_batches=failed,
        batch_sha256=hashes,
        sha256=hashlib.sha256(json.dumps(hashes).encode()).hexdigest(),
    )
    return Claim(record, correct)


def _joined(parts: Sequence[Part], name: str) -> Tensor:
    return torch.cat([part.tensors[name].flatten() for part in parts])


def _part(result: ReleasedResult) -> Part:
    tensors = {name: getattr(result, name) for name in _TENSORS[:-1]} | {"adversarial": result.images}
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    said = json.dumps({"forwards": result.forwards, "gradients": result.gradients})
    return Part(tensors, said, result.seconds, digest(list(tensors.values()), said))
