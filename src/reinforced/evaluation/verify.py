"""Check an evaluation's adversarial examples again, sharing no code with what made them.

Reads the stored arrays with numpy, recomputes ball and box in float64, predicts at another batch size, and
compares with what was counted. Nothing of :mod:`reinforced.attacks` is used here, on purpose.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from reinforced.errors import ReinforcedError
from reinforced.evaluation.records import read_evaluation

BATCH = 37
"""A batch size no attack runs at."""
DRAWS = 100
LINF_TOLERANCE = 1e-6
L2_TOLERANCE = 1e-5

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        examples: counted adversarial examples that were checked.
        failures: one line each on those that do not hold; empty means verified.
        survive_8bit: share of the examples still misclassified after rounding to 8 bit (which may move a
            pixel by half a level, out of the ball).
    """

    examples: int
    failures: tuple[str, ...]
    survive_8bit: float | None

    @property
    def holds(self) -> bool:
        """Whether every counted example holds."""
        return not self.failures


def verify(folder: Path, model: nn.Module, images: Tensor, labels: Tensor) -> Verification:
    """Check every counted adversarial example of a finished evaluation.

    Args:
        folder: the evaluation's.
        model: the same classifier, in eval mode.
        images, labels: the same data, (N, C, H, W) float32 in [0,1] and (N,) int64.

    Raises:
        ReinforcedError: no finished evaluation there, or data other than what was evaluated.
    """
    record = read_evaluation(folder)
    data = hashlib.sha256(images.cpu().contiguous().numpy().tobytes())
    data.update(labels.cpu().numpy().tobytes())
    if data.hexdigest() != record["setup"]["data_sha256"]:
        raise ReinforcedError(f"{folder}: these are not the images that were evaluated")
    draws = DRAWS if record["setup"]["draws"] > 1 else 1
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
        right = _right(model, torch.from_numpy(found), truth, draws)
        for row, how in zip(rows, outside, strict=True):
            if how:
                failures.append(f"{label}, image {row}: {how}")
        failures += [f"{label}, image {row}: is classified rightly" for row in rows[right]]
        rounded = np.round(found * 255) / np.float32(255)
        survived += int((~_right(model, torch.from_numpy(rounded), truth, draws)).sum())
        checked += len(rows)
    return Verification(checked, tuple(failures), survived / checked if checked else None)


def _examples(folder: Path, record: dict[str, Any]) -> Iterator[tuple[str, Array, Array, str]]:
    """Each stored chunk's counted examples: (label, image rows, images, what is wrong with the file)."""
    size = record["setup"]["chunk"]
    nothing = np.zeros(0, dtype=np.int64)
    for name, digests in record["setup"]["chunk_sha256"].items():
        slug = "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip("-").replace("--", "-")
        for number, digest in enumerate(digests):
            if digest is None:
                continue
            label = f"{name}, chunk {number}"
            path = folder / slug / f"chunk-{number:04d}.npz"
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    arrays = {key: stored[key] for key in stored.files}
                actual = _digest(arrays)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                yield label, nothing, nothing, f"cannot be read ({error})"
                continue
            if actual != digest:
                yield label, nothing, nothing, "its contents are not those that were counted"
                continue
            counted = arrays["clean_correct"] & ~arrays["robust"]
            broken_among_attacked = counted[arrays["attacked"]]
            rows = np.flatnonzero(counted) + number * size
            yield label, rows, arrays["adversarial"][broken_among_attacked], ""


def _digest(arrays: dict[str, Array]) -> str:
    """The hash that the record keeps, recomputed from the file's arrays."""
    digest = hashlib.sha256(str(arrays["said"]).encode())
    for key in ("clean_correct", "robust", "attacked", "distances", "unprojected", "adversarial"):
        array = arrays[key]
        digest.update(f"torch.{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _outside(found: Array, originals: Array, threat: str) -> list[str]:
    """For each image how it leaves ball or box, in words; empty if it does not."""
    norm, _, radius = threat.partition(":")
    numerator, _, denominator = radius.partition("/")
    epsilon = float(numerator) / float(denominator or 1)
    delta = (found - originals).reshape(len(found), -1)
    if norm == "linf":
        distance, allowed = np.abs(delta).max(axis=1, initial=0), epsilon + LINF_TOLERANCE
    else:
        distance, allowed = np.sqrt((delta**2).sum(axis=1)), epsilon * (1 + L2_TOLERANCE)
    flat = found.reshape(len(found), -1)
    words = []
    for length, low, high in zip(distance, flat.min(axis=1), flat.max(axis=1), strict=True):
        if not length <= allowed:
            words.append(f"lies {length:.6g} away, outside {threat}")
        elif low < -LINF_TOLERANCE or high > 1 + LINF_TOLERANCE:
            words.append(f"has pixels from {low:.6g} to {high:.6g}, outside [0,1]")
        else:
            words.append("")
    return words


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor, draws: int) -> Array:
    """Which images are classified rightly, by more than half of the draws: (N,) bool."""
    device = next((tensor.device for tensor in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    counts = torch.zeros(len(images))
    for _ in range(draws):
        predicted = [model(part.to(device)).argmax(1).cpu() for part in images.split(BATCH)]  # type: ignore[no-untyped-call]
        if predicted:
            counts += torch.cat(predicted) == labels
    right: Array = (counts > draws / 2).numpy()
    return right
