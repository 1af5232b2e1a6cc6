"""GradAlign: input gradients that point the same way throughout the ball."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.component import setting
from reinforced.regularisers.base import (
    INPUT_GRADIENT_PASSES,
    RegulariserSettings,
    forward_aside,
    input_gradient,
)
from reinforced.streams import Stream


class GradientAlignment(RegulariserSettings):
    """``strength`` times the batch mean of ``1 - cos(g(x), g(x + eta))``, g the cross-entropy's gradient.

    eta is uniform in the L-inf ball (Andriushchenko & Flammarion 2020). An image whose gradient
    is zero at either end counts as aligned.
    """

    kind: Literal["gradient_alignment"] = "gradient_alignment"
    strength: float = setting(
        0.2, "of the penalty", source="Andriushchenko & Flammarion 2020, CIFAR-10 at 8/255", ge=0
    )
    epsilon: float = setting(
        8 / 255,
        "L-inf radius that eta is drawn in",
        unit="pixels of [0,1]",
        source="Andriushchenko & Flammarion 2020",
        gt=0,
        le=1,
    )

    @property
    def differentiates_twice(self) -> bool:
        """Yes: through gradients of its own."""
        return True

    @property
    def needs_clean(self) -> bool:
        """Yes: x is no adversary's."""
        return True

    @property
    def passes(self) -> float:
        """Two forwards of its own and their backwards, and two penalised input gradients."""
        return 2 * (3 + INPUT_GRADIENT_PASSES)

    def penalty(
        self,
        network: nn.Module,
        images: Tensor,
        labels: Tensor,
        logits: Tensor,  # noqa: ARG002
        stream: Stream,
    ) -> Tensor:
        """Clean images (B, C, H, W), labels (B,) to the scalar penalty."""
        draws = stream.uniform(*images.shape).to(images)
        points = images.detach(), images.detach() + self.epsilon * (2 * draws - 1)
        here, there = (_gradient(network, point, labels) for point in points)
        return self.strength * (1 - cosine(here.flatten(1), there.flatten(1), of_zero=1)).mean()


def _gradient(network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    leaf = images.requires_grad_()
    return input_gradient(leaf, labels, forward_aside(network, leaf))


def cosine(one: Tensor, other: Tensor, *, of_zero: float) -> Tensor:
    """Cosines (B,) of the rows of two (B, D); ``of_zero``, without gradient, where either row is zero.

    Rows are scaled by their largest entry first: squares of a confident network's gradients underflow.
    """
    zero = (one == 0).all(1, keepdim=True) | (other == 0).all(1, keepdim=True)
    one, other = (torch.where(zero, 1.0, rows) for rows in (one, other))
    one, other = (rows / rows.detach().abs().amax(1, keepdim=True) for rows in (one, other))
    return torch.where(zero[:, 0], of_zero, F.cosine_similarity(one, other))
