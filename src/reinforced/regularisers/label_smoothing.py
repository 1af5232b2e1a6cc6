"""Label smoothing as a penalty of its own, for any objective."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from reinforced.component import setting
from reinforced.regularisers.base import RegulariserSettings, at_least_float32
from reinforced.streams import Stream


class LabelSmoothing(RegulariserSettings):
    """``strength`` times the batch mean of ``CE(uniform, softmax(z_i))`` (Szegedy et al. 2016, section 7).

    Beside plain cross-entropy it is ``1 + strength`` times cross-entropy with labels smoothed by
    ``strength / (1 + strength)``.
    """

    kind: Literal["label_smoothing"] = "label_smoothing"
    strength: float = setting(
        1 / 9, "of the penalty", source="Szegedy et al. 2016: 0.1 of the label's mass", ge=0
    )

    def penalty(
        self,
        network: nn.Module,  # noqa: ARG002
        images: Tensor,  # noqa: ARG002
        labels: Tensor,  # noqa: ARG002
        logits: Tensor,
        stream: Stream,  # noqa: ARG002
    ) -> Tensor:
        """Logits (B, K) to the scalar penalty in nats; log K is its least value at strength 1."""
        return -self.strength * torch.log_softmax(at_least_float32(logits), dim=-1).mean()
