"""A hard limit on how much each layer can stretch its input, kept by projection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reinforced.component import setting
from reinforced.regularisers.base import RegulariserSettings, at_least_float32
from reinforced.regularisers.singular_values import largest_singular_value, layer_weights
from reinforced.streams import Stream


class SpectralNorm(RegulariserSettings):
    """After each update ``W <- W / max(1, sigma(W) / limit)`` for each layer (Gouk et al. 2021).

    W is a linear or convolutional layer's weight as a matrix (out, in * kernel area). With ``batch_norm``
    the gains too, as there: a batch norm that evaluates multiplies channel i by
    ``g_i = |gamma_i| / sqrt(var_i + eps)``, and ``gamma <- gamma / max(1, max_i g_i / batch_norm)``.
    """

    kind: Literal["spectral_norm"] = "spectral_norm"
    limit: float = setting(1.0, "largest singular value a layer may keep", gt=0)
    batch_norm: float | None = setting(
        None, "largest factor of a channel a batch norm may keep; left out, none is limited", gt=0
    )

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
        if self.batch_norm is not None:
            for gain, deviation in _gains(network):
                gain.div_(((gain.abs() / deviation).max() / self.batch_norm).clamp_min(1))


def _gains(network: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Trained gains (C,) of batch norms that keep statistics, and the deviations (C,) they divide by."""
    for module in network.modules():
        if not (isinstance(module, _BatchNorm) and module.affine and module.weight.requires_grad):
            continue
        if module.running_var is not None:
            yield module.weight, (module.running_var + module.eps).sqrt()
