"""What an evaluation keeps to be looked at: its images, and what the model says of them, attacked too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reinforced.attacks.seal import Meter, device_of, sealed, seed_global
from reinforced.evaluation.chunks import Chunk
from reinforced.evaluation.job import Job
from reinforced.files import atomic

FILE = "pictures.npz"


def write_pictures(job: Job, chunks: Mapping[str, Sequence[Chunk | None]]) -> None:
    """Write :data:`FILE`; it is for people, so no figure and no hash depends on it.

    ``images`` (N, C, H, W) uint8; for ``clean`` and each attack ``predicted X`` (N,) int16 and
    ``confidence X`` (N,) float32, the class and its probability; -1 and not-a-number where the attack has no
    candidate.
    """
    device = device_of(job.model)
    arrays: dict[str, Any] = {"images": (job.images * 255).round().to(torch.uint8).cpu().numpy()}
    with torch.no_grad(), sealed(job.model, device) as meter:
        seed_global(job.seed, device)
        for name in ("clean", *chunks):
            predicted = torch.full((len(job.images),), -1, dtype=torch.int16)
            confidence = torch.full((len(job.images),), torch.nan)
            for number in range(job.count()):
                rows = torch.arange(len(job.images))[job.rows(number)]
                images = job.images[rows]
                if name in chunks:
                    chunk = chunks[name][number]
                    if chunk is None or not chunk.attacked.any():
                        continue
                    rows, images = rows[chunk.attacked], chunk.adversarial
                confidence[rows], predicted[rows] = _said(meter, images.to(device))
            arrays[f"predicted {name}"] = predicted.numpy()
            arrays[f"confidence {name}"] = confidence.numpy()
    with atomic(job.folder / FILE) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _said(meter: Meter, images: Tensor) -> tuple[Tensor, Tensor]:
    found = torch.softmax(meter(images).float(), 1).max(1)
    return found.values.cpu(), found.indices.cpu().to(torch.int16)
