"""Jacobian regularisation by random projections."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.component import setting
from reinforced.regularisers.base import INPUT_GRADIENT_PASSES, RegulariserSettings, at_least_float32
from reinforced.streams import Stream


class Jacobian(RegulariserSettings):
    """``strength / 2`` times the batch mean of ``||d z_i / d x_i||_F^2``, estimated (Hoffman et al. 2019).

    With v uniform on the unit sphere of the K logits, ``K ||d (v . z) / d x||^2`` has that squared norm as
    its mean (their algorithm 1).
    """

    kind: Literal["jacobian"] = "jacobian"
    strength: float = setting(0.01, "of the penalty", source="Hoffman et al. 2019", ge=0)
    projections: int = setting(
        1, "random directions drawn for each image", unit="directions", source="Hoffman et al. 2019", ge=1
    )

    @property
    def needs_input_gradient(self) -> bool:
        """Yes."""
        return True

    @property
    def passes(self) -> float:
        """An input gradient, and the backward through it, for each projection."""
        return INPUT_GRADIENT_PASSES * self.projections

    def penalty(
        self,
        network: nn.Module,  # noqa: ARG002
        images: Tensor,
        labels: Tensor,  # noqa: ARG002
        logits: Tensor,
        stream: Stream,
    ) -> Tensor:
        """Images (B, C, H, W) that require grad and logits (B, K) to the scalar penalty."""
        logits = at_least_float32(logits)
        batch, classes = logits.shape
        directions = F.normalize(stream.normal(batch, self.projections, classes), dim=-1).to(logits)
        total = logits.new_zeros(())
        for direction in directions.unbind(1):
            (gradient,) = torch.autograd.grad(logits, images, direction, create_graph=True)
            total = total + at_least_float32(gradient).square().sum() / batch
        return self.strength / 2 * classes / self.projections * total
