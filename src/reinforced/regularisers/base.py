"""The protocol of a regulariser: a term added to any objective's loss, under any adversary."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from reinforced.component import Component
from reinforced.streams import Stream

INPUT_GRADIENT_PASSES = 3.0
"""Of a penalty on one input gradient: the gradient 1, and 2 that it adds to the step's backward pass."""


class Regulariser(Protocol):
    """Adds a penalty to a step's loss, or limits the weights after its update."""

    @property
    def kind(self) -> str:
        """The name a recipe selects it by."""

    @property
    def needs_input_gradient(self) -> bool:
        """Whether ``images`` must be a leaf that requires grad, ``logits`` computed from it.

        The forward pass then runs in :func:`twice_differentiable`.
        """

    @property
    def differentiates_twice(self) -> bool:
        """Whether its gradient goes through one of the network's, which compiled code cannot."""

    @property
    def needs_clean(self) -> bool:
        """Whether ``images`` must be the step's clean ones, whatever it trains on.

        ``logits`` are then of other images, those of the first view.
        """

    @property
    def passes(self) -> float:
        """Passes an image that it adds to a step: forward 1, input gradient 1, double backward 2."""

    def penalty(
        self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor, stream: Stream
    ) -> Tensor:
        """Images (B, C, H, W), labels (B,), their logits (B, K) to a scalar, strength included, batch mean.

        ``network`` is unwrapped; weights' ``.grad``, buffers and the global random stream are left alone.
        """

    def after_update(self, network: nn.Module) -> None:
        """Limit the weights in place, once the optimiser has made its step."""


class RegulariserSettings(Component):
    """What most regularisers share: they read logits or weights only, and leave the updated weights."""

    @property
    def needs_input_gradient(self) -> bool:
        """No."""
        return False

    @property
    def differentiates_twice(self) -> bool:
        """Where it needs an input gradient."""
        return self.needs_input_gradient

    @property
    def needs_clean(self) -> bool:
        """No."""
        return False

    @property
    def passes(self) -> float:
        """None."""
        return 0.0

    def after_update(self, network: nn.Module) -> None:
        """Nothing."""


def at_least_float32(values: Tensor) -> Tensor:
    """Values in the precision a penalty needs: half precision widened, float64 left as it is."""
    return values if values.dtype is torch.float64 else values.float()


def input_gradient(images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """Gradient of the cross-entropy in nats for the images, with a graph: (B, C, H, W).

    The loss is summed over the batch, so that where images do not interact row i is image i's own gradient.
    """
    loss = F.cross_entropy(at_least_float32(logits), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images, create_graph=True)
    return at_least_float32(gradient)


def twice_differentiable() -> AbstractContextManager[None]:
    """What a forward pass must run in if its input gradient is to be penalised.

    torch's fused attention kernels have no double backward; its plain one has.
    """
    return sdpa_kernel(SDPBackend.MATH)


def forward_aside(network: nn.Module, images: Tensor) -> Tensor:
    """Logits (B, K) with gradient; buffers (batch norm's statistics) and the random stream stay as they were.

    The mode is the network's own: in train mode batch norm uses the batch's statistics.
    """
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    devices = [images.device] if images.device.type == "cuda" else []
    with torch.random.fork_rng(devices), twice_differentiable():
        logits: Tensor = functional_call(network, buffers, (images,))
    return logits
