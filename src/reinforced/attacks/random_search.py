"""Random search in the ball: the weakest attack there is, and so a check on stronger ones."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from reinforced.attacks.base import Access, AttackOutput, AttackSettings, Batch
from reinforced.attacks.losses import margin, rounding, widened
from reinforced.attacks.pgd import Keeper, direction, random_start
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream


class RandomSearch(AttackSettings):
    """Draws in the ball and on its surface, without any gradient; stops when all images are broken.

    Keeps for each image the first misclassified draw, else the one of the largest margin. Where it breaks
    images that a gradient attack leaves, the gradients are masked (Athalye et al. 2018, arXiv 1802.00420,
    section 3.1; Carlini et al. 2019, arXiv 1902.06705). Costs at most ``samples`` forward passes an image.
    """

    access: ClassVar[Access] = "scores"

    kind: Literal["random_search"] = "random_search"
    samples: int = setting(1000, "draws an image", ge=1)
    draws: Literal["both", "inside", "surface"] = setting(
        "both", "uniform in the ball, on its surface (L-inf: corners, L2: the sphere), or by turns"
    )

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; no ``trace``, for the draws are no path."""
        keeper = Keeper(batch.images)
        with torch.no_grad():
            for number in range(self.samples):
                inside = self.draws == "inside" or (self.draws == "both" and number % 2 == 1)
                draw = random_start if inside else on_surface
                x = draw(batch.images, threat, stream)
                logits = widened(model(x))
                keeper.offer(x, margin(logits, batch.labels), rounding(logits))
                if keeper.broken.all():
                    break
        return AttackOutput(keeper.images)


def on_surface(images: Tensor, threat: ThreatModel, stream: Stream) -> Tensor:
    """A corner of the L-inf ball, or a uniform draw from the L2 sphere, around ``images``; in the box."""
    if threat.norm == "linf":
        noise = torch.where(stream.uniform(*images.shape) < 0.5, -1.0, 1.0)
    else:
        noise = direction(stream.normal(*images.shape), "l2")
    return threat.project(images + threat.epsilon * noise.to(images), images)
