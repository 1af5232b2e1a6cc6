"""A hard limit on how much each layer can stretch its input, kept by projection."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from reinforced.component import setting
from reinforced.regularisers.base import RegulariserSettings, at_least_float32
from reinforced.regularisers.singular_values import largest_singular_value, layer_weights
from reinforced.streams import Stream


class SpectralNorm(RegulariserSettings):
    """After each update ``W <- W / max(1, sigma(W) / limit)`` for each layer (Gouk et al. 2021).

    W is a linear or convolutional layer's weight as a matrix (out, in * kernel area).
    """

    kind: Literal["spectral_norm"] = "spectral_norm"
    limit: float = setting(1.0, "largest singular value a layer may keep", gt=0)

    def penalty(
        self,
        network: nn.Module,  # noqa: ARG002
        images: Tensor,  # noqa: ARG002
        labels: Tensor,  # noqa: ARG002
        logits: Tensor,
        stream: Stream,  # noqa: ARG002
    ) -> Tensor:
        """Zero, without gradient: the limit acts after the update."""
        return at_least_float32(logits).new_zeros(())

    @torch.no_grad()
    def after_update(self, network: nn.Module) -> None:
        """Divide, in place, the weights that exceed the limit; the others are divided by exactly 1."""
        for weight in layer_weights(network):
            excess = (largest_singular_value(weight) / self.limit).clamp_min(1)
            weight.div_(excess)
