"""The largest singular values of a network's layers, without stored state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.regularisers.base import at_least_float32

SQUARINGS = 10  # 2^10 power iterations: what is left of the second direction costs sigma under 1e-4 of itself


def layer_weights(network: nn.Module) -> list[Tensor]:
    """Trainable weights of the linear and (not transposed) convolutional layers, each once."""
    layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    weights = [module.weight for module in network.modules() if isinstance(module, layers)]
    return list({id(weight): weight for weight in weights if weight.requires_grad}.values())


def largest_singular_value(weight: Tensor) -> Tensor:
    """sigma of a weight (out, ...) reshaped to (out, rest): a scalar ``u^T W v`` with gradient ``u v^T``.

    u and v come from power iteration, held constant (Yoshida & Miyato 2017).
    """
    with torch.autocast(weight.device.type, enabled=False):
        matrix = at_least_float32(weight).flatten(1)
        left, right = _top_pair(matrix.detach())
        return left @ (matrix @ right)


@torch.no_grad()
def _top_pair(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right vectors of the largest singular value; zeros for a matrix of zeros.

    Squaring the Gram matrix of the shorter side doubles the iterations with each product. The column with
    the largest diagonal entry starts it: unlike a fixed vector it is never orthogonal to the answer. No
    step waits for the device.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / wide.abs().max().clamp_min(torch.finfo(wide.dtype).tiny)
    gram = wide @ wide.T
    for _ in range(SQUARINGS):
        gram = gram / _norm(gram)
        gram = gram @ gram
    short = gram.index_select(1, gram.diagonal().argmax().view(1))[:, 0]
    short = short / _norm(short)
    long = wide.T @ short
    long = long / _norm(long)
    return (short, long) if matrix.shape[0] <= matrix.shape[1] else (long, short)


def _norm(values: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(values)
    return length.clamp_min(torch.finfo(values.dtype).tiny)
