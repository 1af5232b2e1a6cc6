"""Spectral norm regularisation: a soft limit on how much each layer can stretch its input."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from reinforced.component import setting
from reinforced.regularisers.base import RegulariserSettings, at_least_float32
from reinforced.regularisers.singular_values import largest_singular_value, layer_weights
from reinforced.streams import Stream


class SpectralPenalty(RegulariserSettings):
    """``strength / 2`` times the sum over layers of ``sigma(W)^2`` (Yoshida & Miyato 2017).

    W is a linear or convolutional layer's weight as a matrix (out, in * kernel area).
    """

    kind: Literal["spectral_penalty"] = "spectral_penalty"
    strength: float = setting(0.01, "of the penalty", source="Yoshida & Miyato 2017", ge=0)

    def penalty(
        self,
        network: nn.Module,
        images: Tensor,  # noqa: ARG002
        labels: Tensor,  # noqa: ARG002
        logits: Tensor,
        stream: Stream,  # noqa: ARG002
    ) -> Tensor:
        """The network's weights to the scalar penalty; zero for a network without such layers."""
        sigmas = [largest_singular_value(weight) for weight in layer_weights(network)]
        if not sigmas:
            return at_least_float32(logits).new_zeros(())
        return self.strength / 2 * torch.stack(sigmas).square().sum()
