"""Check an evaluation's adversarial examples again, sharing no code with what made them.

Reads the stored arrays with numpy, recomputes ball and box in float64, predicts at another batch size, and
compares with what was counted. Nothing of :mod:`reinforced.attacks` is used here, on purpose, but the seal
that leaves model and random state as they were.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reinforced.attacks.seal import device_of, sealed, seed_global
from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import model_sha256
from reinforced.evaluation.records import read_evaluation
from reinforced.evaluation.recount import Array, miscounted, misreported, outcomes, slug

BATCH = 37
"""A batch size no attack runs at."""
DRAWS = 100
CHANCE = 0.01
"""That an image whose draws are a fair coin is taken for a witness: 63 of 100 must be wrong. By half of them
an image near the border would break by luck under one of the fifteen attacks that a judge tries."""
SEED = 0
"""Of the draws of randomised models, so that the same question gets the same answer."""
LINF_TOLERANCE = 1e-6
L2_TOLERANCE = 1e-5
RELEASED_L2_TOLERANCE = 1e-4
"""The released clipping sums squares in float32 and keeps no margin for rounding."""

_KEYS = ("clean_correct", "robust", "attacked", "distances", "unprojected", "adversarial")
_RELEASED_KEYS = ("correct", "outside", "gradient_norms", "step_ratios", "adversarial")


@dataclass(frozen=True)
class ReleasedCheck:
    """What ran as released, checked on its own terms: ball without box, predictions at its own batch size.

    Attributes:
        mark: that it is not in the worst case.
        threat: the ball, ``unclipped l2:1``.
        images: whose ball and prediction were recomputed.
        outside: share of them that left [0,1].
    """

    name: str
    mark: str
    threat: str
    images: int
    outside: float | None


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        examples: counted adversarial examples that were checked.
        failures: one line each on those that do not hold; empty means verified.
        survive_8bit: share of the examples still misclassified after rounding to 8 bit (which may move a
            pixel by half a level, out of the ball).
        as_released: what ran as released; its failures are among the others.
    """

    examples: int
    failures: tuple[str, ...]
    survive_8bit: float | None
    as_released: tuple[ReleasedCheck, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every counted example holds."""
        return not self.failures


def verify(folder: Path, model: nn.Module, images: Tensor, labels: Tensor) -> Verification:
    """Check every counted adversarial example of a finished evaluation.

    Args:
        folder: the evaluation's.
        model: the same classifier, in eval mode. A randomised one is asked anew, so that only what its draws
            contradict fails: chance would break an honest record somewhere.
        images, labels: the same data, (N, C, H, W) float32 in [0,1] and (N,) int64.

    Raises:
        ReinforcedError: no finished evaluation there, or data or weights other than what was evaluated.
    """
    record = read_evaluation(folder)
    if model_sha256(model) != record["setup"]["model_sha256"]:
        raise ReinforcedError(f"{folder}: these are not the weights that were evaluated")
    data = hashlib.sha256(images.cpu().contiguous().numpy().tobytes())
    data.update(labels.cpu().numpy().tobytes())
    if data.hexdigest() != record["setup"]["data_sha256"]:
        raise ReinforcedError(f"{folder}: these are not the images that were evaluated")
    draws = DRAWS if record["setup"]["draws"] > 1 else 1
    asked = sum(attack["attacked"] for attack in record["attacks"]) + len(labels)
    sure = _surely(draws, CHANCE / asked)
    originals = images.numpy().astype(np.float64)
    failures: list[str] = []
    checked, survived = 0, 0
    for label, rows, found, problem in _examples(folder, record):
        if problem:
            failures.append(f"{label}: {problem}")
            continue
        if not len(rows):
            continue
        truth = labels[torch.from_numpy(rows)]
        outside = _outside(found.astype(np.float64), originals[rows], record["threat"])
        right = _counts(model, torch.from_numpy(found), truth, draws) >= sure
        for row, how in zip(rows, outside, strict=True):
            if how:
                failures.append(f"{label}, image {row}: {how}")
        failures += [f"{label}, image {row}: is classified rightly" for row in rows[right]]
        rounded = np.round(found * 255) / np.float32(255)
        survived += int((~_right(model, torch.from_numpy(rounded), truth, draws)).sum())
        checked += len(rows)
    clean: Array | None = None
    if not failures:
        clean, broken = outcomes(folder, record["setup"]["chunk_sha256"])
        failures += miscounted(folder, record, clean, broken)
        failures += _unclean(_counts(model, images, labels, draws), clean, draws, sure)
    released = []
    for claim in record.get("as_released", []):
        check, problems = _check_released(folder, claim, model, originals, labels, clean)
        released.append(check)
        failures += problems
    return Verification(checked, tuple(failures), survived / checked if checked else None, tuple(released))


def holding(
    model: nn.Module, originals: Tensor, found: Tensor, labels: Tensor, threat: str, draws: int = 1
) -> Tensor:
    """Which examples lie in ball and box and are surely misclassified, recomputed here: (N,) bool, on CPU.

    The same call gives the same answer; model and global random state are afterwards as they were.

    Args:
        model: in any mode; it predicts in eval mode.
        originals, found: (N, C, H, W) float32 in [0,1]; the examples ``found`` lie beside their originals.
        labels: (N,) int64.
        threat: ``linf:8/255``.
        draws: predictions an image; of more than one, so many must be wrong (63 of 100) that a fair coin
            does so in at most 1 % of cases.
    """
    if not len(labels):
        return torch.zeros(0, dtype=torch.bool)
    stored = found.detach().cpu().contiguous()
    beyond = _outside(stored.numpy().astype(np.float64), originals.cpu().numpy().astype(np.float64), threat)
    inside = torch.tensor([not how for how in beyond])
    wrong = draws - torch.from_numpy(_counts(model, stored, labels.cpu(), draws))
    return inside & (wrong >= _surely(draws))


def _surely(draws: int, chance: float = CHANCE) -> int:
    """The fewest wrong draws that a fair coin reaches with at most that chance; 1 of a single one."""
    if draws == 1:
        return 1
    tail, count = 0, draws + 1
    while tail + math.comb(draws, count - 1) <= chance * 2**draws:
        count -= 1
        tail += math.comb(draws, count)
    return count


def _unclean(counts: Array, clean: Array, draws: int, sure: int) -> list[str]:
    """Whether the model is right on other images than were counted; rounding may turn one in a hundred."""
    wrongly, rightly = clean & (draws - counts >= sure), ~clean & (counts >= sure)
    turned = int(wrongly.sum() + rightly.sum())
    if turned <= len(clean) // 100:
        return []
    return [f"clean: the model now answers {turned} of {len(clean)} images otherwise than was counted"]


def _check_released(
    folder: Path,
    claim: dict[str, Any],
    model: nn.Module,
    originals: Array,
    labels: Tensor,
    clean: Array | None,
) -> tuple[ReleasedCheck, list[str]]:
    """Every stored image of a released procedure, and whether the record counts what the files say."""
    name, size, threat = claim["name"], claim["batch"], claim["threat"]
    failures: list[str] = []
    checked, left = 0, 0
    parts: list[dict[str, Array]] = []
    for number, digest in enumerate(claim["batch_sha256"]):
        if digest is None:
            continue
        label = f"{name}, batch {number}"
        arrays, problem = _read(folder / slug(name) / f"batch-{number:04d}.npz", digest, _RELEASED_KEYS)
        if problem:
            failures.append(f"{label}: {problem}")
            continue
        found, counted = arrays["adversarial"], arrays["correct"]
        rows = np.arange(number * size, number * size + len(found))
        beyond = _outside(found.astype(np.float64), originals[rows], threat)
        failures += [f"{label}, image {row}: {how}" for row, how in zip(rows, beyond, strict=True) if how]
        right = _right(model, torch.from_numpy(found), labels[torch.from_numpy(rows)], 1, size)
        failures += [
            f"{label}, image {row}: is classified {'rightly' if now else 'wrongly'}, counted otherwise"
            for row, now, before in zip(rows, right, counted, strict=True)
            if now != before
        ]
        flat = found.reshape(len(found), -1)
        left += int(((flat.min(axis=1) < -LINF_TOLERANCE) | (flat.max(axis=1) > 1 + LINF_TOLERANCE)).sum())
        checked += len(found)
        parts.append(arrays)
    if len(parts) == len(claim["batch_sha256"]) and clean is not None:
        failures += misreported(claim, parts, clean)
    share = left / checked if checked else None
    return ReleasedCheck(name, claim["mark"], threat, checked, share), failures


def _examples(folder: Path, record: dict[str, Any]) -> Iterator[tuple[str, Array, Array, str]]:
    """Each stored chunk's counted examples: (label, image rows, images, what is wrong with the file)."""
    size = record["setup"]["chunk"]
    nothing = np.zeros(0, dtype=np.int64)
    for name, digests in record["setup"]["chunk_sha256"].items():
        for number, digest in enumerate(digests):
            if digest is None:
                continue
            label = f"{name}, chunk {number}"
            arrays, problem = _read(folder / slug(name) / f"chunk-{number:04d}.npz", digest, _KEYS)
            if problem:
                yield label, nothing, nothing, problem
                continue
            counted = arrays["attacked"] & ~arrays["robust"]
            broken_among_attacked = counted[arrays["attacked"]]
            rows = np.flatnonzero(counted) + number * size
            yield label, rows, arrays["adversarial"][broken_among_attacked], ""


def _read(path: Path, digest: str, keys: tuple[str, ...]) -> tuple[dict[str, Array], str]:
    """A file's arrays, or what is wrong with it."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
        actual = _digest(arrays, keys)
    # Damaged archives raise zipfile's, zlib's and tokenize's errors too, and MemoryError for absurd shapes.
    except Exception as error:
        return {}, f"cannot be read ({error})"
    return arrays, "" if actual == digest else "its contents are not those that were counted"


def _digest(arrays: dict[str, Array], keys: tuple[str, ...] = _KEYS) -> str:
    """The hash that the record keeps, recomputed from the file's arrays."""
    digest = hashlib.sha256(str(arrays["said"]).encode())
    for key in keys:
        array = arrays[key]
        digest.update(f"torch.{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _outside(found: Array, originals: Array, threat: str) -> list[str]:
    """For each image how it leaves ball or box (``unclipped`` has none), in words; empty if it does not."""
    boxed = not threat.startswith("unclipped ")
    norm, _, radius = threat.removeprefix("unclipped ").partition(":")
    numerator, _, denominator = radius.partition("/")
    epsilon = float(numerator) / float(denominator or 1)
    delta = (found - originals).reshape(len(found), -1)
    if norm == "linf":
        distance, allowed = np.abs(delta).max(axis=1, initial=0), epsilon + LINF_TOLERANCE
    else:
        tolerance = L2_TOLERANCE if boxed else RELEASED_L2_TOLERANCE
        distance, allowed = np.sqrt((delta**2).sum(axis=1)), epsilon * (1 + tolerance)
    flat = found.reshape(len(found), -1)
    words = []
    for length, low, high in zip(distance, flat.min(axis=1), flat.max(axis=1), strict=True):
        if not length <= allowed:
            words.append(f"lies {length:.6g} away, outside {threat}")
        elif boxed and (low < -LINF_TOLERANCE or high > 1 + LINF_TOLERANCE):
            words.append(f"has pixels from {low:.6g} to {high:.6g}, outside [0,1]")
        else:
            words.append("")
    return words


def _right(model: nn.Module, images: Tensor, labels: Tensor, draws: int, batch: int = BATCH) -> Array:
    """Which images are classified rightly, by more than half of the draws: (N,) bool."""
    right: Array = _counts(model, images, labels, draws, batch) > draws / 2
    return right


@torch.no_grad()
def _counts(model: nn.Module, images: Tensor, labels: Tensor, draws: int, batch: int = BATCH) -> Array:
    """How many draws classify each image rightly: (N,) int64."""
    device = device_of(model)
    counts = torch.zeros(len(images), dtype=torch.int64)
    with sealed(model, device) as meter:
        seed_global(SEED, device)
        for _ in range(draws):
            answers = [meter(part.to(device)).cpu() for part in images.split(batch)]  # type: ignore[no-untyped-call]
            if answers:
                logits = torch.cat(answers)
                counts += (logits.argmax(1) == labels) & logits.isfinite().all(1)
    found: Array = counts.numpy()
    return found
