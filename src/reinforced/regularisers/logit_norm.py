"""Logit squeezing: small logits."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reinforced.component import setting
from reinforced.regularisers.base import RegulariserSettings, at_least_float32
from reinforced.streams import Stream


class LogitNorm(RegulariserSettings):
    """``strength`` times the batch mean of ``||z_i||_2^2`` (logit squeezing, Kannan et al. 2018)."""

    kind: Literal["logit_norm"] = "logit_norm"
    strength: float = setting(0.05, "of the penalty", ge=0)

    def penalty(
        self,
        network: nn.Module,  # noqa: ARG002
        images: Tensor,  # noqa: ARG002
        labels: Tensor,  # noqa: ARG002
        logits: Tensor,
        stream: Stream,  # noqa: ARG002
    ) -> Tensor:
        """Logits (B, K) to the scalar penalty."""
        return self.strength * at_least_float32(logits).square().sum(1).mean()
