"""One attack on one chunk of images, as it lies on disk: whole, or not at all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from reinforced.attacks.base import AttackResult, Flag
from reinforced.errors import Damaged
from reinforced.files import atomic

_TENSORS = ("clean_correct", "robust", "attacked", "distances", "unprojected")


@dataclass(frozen=True)
class Chunk:
    """What an attack did to up to 64 consecutive images.

    Attributes:
        clean_correct, robust, attacked: (N,) bool.
        distances, unprojected: (N,) float32, see :class:`~reinforced.attacks.base.AttackResult`.
        adversarial: (A, C, H, W) float32, the candidates of the A attacked images, in order.
        forwards, gradients: passes, in images.
        seconds: wall-clock.
        elsewhere: passes on surrogates, in images.
        flags: the attack's doubts.
        sha256: of all of the above but the seconds.
    """

    clean_correct: Tensor
    robust: Tensor
    attacked: Tensor
    distances: Tensor
    unprojected: Tensor
    adversarial: Tensor
    forwards: int
    gradients: int
    elsewhere: int
    flags: tuple[Flag, ...]
    seconds: float
    sha256: str


def from_result(result: AttackResult) -> Chunk:
    """A chunk of a runner's result, on the CPU."""
    tensors = {name: getattr(result, name).cpu() for name in _TENSORS}
    adversarial = result.images[result.attacked].cpu().contiguous()
    sha256 = digest([*tensors.values(), adversarial], _said(result))
    return Chunk(
        **tensors,
        adversarial=adversarial,
        forwards=result.forwards,
        gradients=result.gradients,
        elsewhere=result.elsewhere,
        flags=result.flags,
        seconds=result.seconds,
        sha256=sha256,
    )


def save_chunk(path: Path, chunk: Chunk) -> None:
    """Write a chunk atomically, compressed."""
    tensors = {name: getattr(chunk, name) for name in (*_TENSORS, "adversarial")}
    write_part(path, Part(tensors, _said(chunk), chunk.seconds, chunk.sha256))


def load_chunk(path: Path) -> Chunk:
    """Read a chunk back.

    Raises:
        Damaged: the file is, or its contents changed since they were written.
    """
    part = read_part(path, (*_TENSORS, "adversarial"))
    counts, flags = json.loads(part.said)
    return Chunk(
        **part.tensors,
        forwards=counts["forwards"],
        gradients=counts["gradients"],
        elsewhere=counts["elsewhere"],
        flags=tuple(Flag(**flag) for flag in flags),
        seconds=part.seconds,
        sha256=part.sha256,
    )


class Part(NamedTuple):
    """A file's content: named tensors, what is said beside them, and the hash of both."""

    tensors: Mapping[str, Tensor]
    said: str
    seconds: float
    sha256: str


def write_part(path: Path, part: Part) -> None:
    """Write a part atomically, compressed."""
    arrays: dict[str, Any] = {name: tensor.numpy() for name, tensor in part.tensors.items()}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            **arrays,
            said=np.array(part.said),
            seconds=np.array(part.seconds),
            sha256=np.array(part.sha256),
        )


def read_part(path: Path, names: Sequence[str]) -> Part:
    """Read back a part that has the tensors ``names``, in this order.

    Raises:
        Damaged: the file is, or its contents changed since they were written.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            tensors = {name: torch.from_numpy(stored[name]) for name in names}
            said = str(stored["said"])
            seconds, sha256 = float(stored["seconds"]), str(stored["sha256"])
    # Damaged archives raise zipfile's, zlib's and tokenize's errors too, and MemoryError for absurd shapes.
    except Exception as error:
        raise Damaged(f"{path}: damaged ({error}); delete it and evaluate again", path) from None
    if sha256 != digest(list(tensors.values()), said):
        raise Damaged(
            f"{path}: its contents changed since they were written; delete it and evaluate again", path
        )
    return Part(tensors, said, seconds, sha256)


def _said(found: AttackResult | Chunk) -> str:
    """Passes and flags as JSON, one text for the same values."""
    counts = {name: getattr(found, name) for name in ("forwards", "gradients", "elsewhere")}
    return json.dumps([counts, [asdict(flag) for flag in found.flags]])


def digest(tensors: list[Tensor], said: str) -> str:
    """The hash a chunk carries: of its tensors in order, types and shapes included, and of what is said."""
    found = hashlib.sha256(said.encode())
    for tensor in tensors:
        found.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()
