"""The dynamic indicators: all that is measured along one PGD path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import random_start
from reinforced.attacks.seal import device_of
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import BATCH, Indicator, batches, lent
from reinforced.diagnostics.indicators.path import PathIndicator, walk
from reinforced.diagnostics.indicators.path_cosine import PathCosine
from reinforced.diagnostics.indicators.path_norm import PathNorm
from reinforced.diagnostics.indicators.path_progress import PathProgress
from reinforced.diagnostics.indicators.path_signs import PathSigns
from reinforced.diagnostics.indicators.path_variance import BatchVariance, PathVariance
from reinforced.streams import Stream

PATH_INDICATORS: tuple[Callable[[], PathIndicator], ...] = (
    PathNorm,
    PathCosine,
    PathSigns,
    PathVariance,
    BatchVariance,
    PathProgress,
)
"""A new one is one file and one name here."""


@dataclass(frozen=True)
class Path:
    """What was seen along the path, and where it ended: ``images`` (N, C, H, W) float32 on the CPU."""

    indicators: tuple[Indicator, ...]
    images: Tensor


def along_path(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 20,
    step: float | None = None,
    loss: Loss = "ce",
    seed: int = 0,
    batch: int = BATCH,
    wanted: Sequence[Callable[[], PathIndicator]] = PATH_INDICATORS,
) -> Path:
    """Walk every image to the end of a PGD path and measure the dynamic indicators on the way.

    After the released code of Zou et al. 2026 (``new_pgd.py``), which takes the gradient of the batch's
    mean loss and floors its norm; here each image has its own, unfloored, and the path stays in [0,1].

    Args:
        model, images, labels: see :func:`~reinforced.diagnostics.indicators.base.lent`.
        threat: the ball; the path begins at a uniform draw from it.
        steps, step, loss: see :func:`~reinforced.diagnostics.indicators.path.walk`.
        seed: of the draws, which do not depend on ``batch``.
        batch: images at a time.
        wanted: which indicators.
    """
    starts = random_start(images.cpu(), threat, Stream(seed, "indicators/path"))
    watching = [each() for each in wanted]
    ends = []
    with lent(model, images, labels, seed=seed) as meter:
        device = device_of(model)
        for rows in batches(len(images), batch):
            start, x, y = (each[rows].to(device) for each in (starts, images, labels))
            for iterate in walk(meter, start, x, y, threat, steps=steps, step=step, loss=loss):
                for each in watching:
                    each.see(iterate)
            ends.append(iterate.images.cpu())
    found = tuple(each.result(meter.forwards, meter.gradients) for each in watching)
    return Path(found, torch.cat(ends))
