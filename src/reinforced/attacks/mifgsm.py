"""Momentum iterative FGSM (Dong et al. 2018, arXiv 1710.06081), with input diversity (Xie et al. 2019)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import accumulate, direction, probe
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream

_DONG, _XIE = "Dong et al. 2018", "Xie et al. 2019"


class MIFGSM(AttackSettings):
    """Follows accumulated L1-normalised gradients from the image itself and keeps the LAST iterate.

    Made for transfer, where an iterate that barely crosses the surrogate's boundary is of no use. With
    ``diversity`` above 0 it is M-DI2-FGSM (Xie et al. 2019, arXiv 1803.06978). Costs ``steps`` forward passes
    and ``steps`` input gradients an image.
    """

    kind: Literal["mifgsm"] = "mifgsm"
    steps: int = setting(10, "gradient steps", ge=1, source=_DONG)
    step: float | None = setting(
        None, "length of a step; none for epsilon / steps", unit="pixels of [0,1]", gt=0, source=_DONG
    )
    momentum: float = setting(1.0, "of the L1-normalised gradients", ge=0, source=_DONG)
    loss: Loss = setting("ce", "what is ascended: ce, margin, dlr or gap", source=_DONG)
    diversity: float = setting(
        0.0, "probability that a step sees resized and padded images; 0.5 in Xie et al. 2019", ge=0, le=1
    )
    shrink: float = setting(0.9, "smallest resized side, as a part of the image's", gt=0, lt=1, source=_XIE)

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; ``trace`` has ``steps`` rows, the last iterate's not.

        Raises:
            ReinforcedError: the logits carry no gradient to the images, or are too few for ``loss``.
        """
        length = threat.epsilon / self.steps if self.step is None else self.step
        x, velocity, trace = batch.images, None, []
        for _ in range(self.steps):
            seen = probe(model, x, batch.labels, self.loss, view=lambda x: self._diverse(x, stream))
            trace.append(seen.loss)
            velocity = accumulate(velocity, seen.gradient, self.momentum)
            x = threat.project(x + length * direction(velocity, threat.norm), batch.images)
        return AttackOutput(x, torch.stack(trace))

    def _diverse(self, x: Tensor, stream: Stream) -> Tensor:
        if self.diversity == 0:
            return x
        # One draw for the whole batch, so that what an image sees does not hang on how many others there are.
        coin, size, down, across = stream.shared_uniform(4).tolist()
        return resized_and_padded(x, self.shrink, size, (down, across)) if coin < self.diversity else x


def resized_and_padded(x: Tensor, shrink: float, size: float, place: tuple[float, float]) -> Tensor:
    """Shrink ``x`` and pad it with zeros to its old size (Xie et al. 2019, section 3.3).

    The paper enlarges 299 to a random size below 330 and pads to 330; here the padded size is the model's
    own, so that any classifier takes it, and the ratio is the same.

    Args:
        x: (N, C, H, W); nearest-neighbour interpolation, as in the paper's code.
        shrink: the smallest side, as a part of the old.
        size: in [0, 1), which of the sides from the smallest to the old less one pixel.
        place: in [0, 1) each, how far down and across it is put.

    Returns:
        (N, C, H, W).
    """
    height, width = x.shape[2:]
    h, w = _side(height, shrink, size), _side(width, shrink, size)
    top, left = int(place[0] * (height - h + 1)), int(place[1] * (width - w + 1))
    small = F.interpolate(x, size=(h, w), mode="nearest")
    return F.pad(small, (left, width - w - left, top, height - h - top))


def _side(side: int, shrink: float, size: float) -> int:
    smallest = max(1, min(side - 1, math.floor(shrink * side)))
    return smallest + int(size * max(side - smallest, 1))
