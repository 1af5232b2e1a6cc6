"""What keeps an attack from leaving traces in the model, and counts what the attack asks of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn


class Meter(nn.Module):
    """A model that counts, in images, the forward passes and gradients asked of it.

    ``forwards`` grows by N at a call on N images, ``gradients`` by N whenever a backward pass reaches
    the logits of such a call, so K backward passes through one forward count K times.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = 0
        self.gradients = 0

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K), the model's own logits."""
        self.forwards += len(images)
        logits: Tensor = self.model(images)
        # Whatever else a model may return is refused by name later (checks.py).
        if isinstance(logits, Tensor) and logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, grad: Tensor) -> None:
        self.gradients += len(grad)


@contextmanager
def sealed(model: nn.Module, device: torch.device) -> Iterator[Meter]:
    """Lend ``model`` in eval mode, without weight gradients; afterwards it is as it was.

    Restored even after an error: every module's train flag, every parameter's ``requires_grad`` and
    ``.grad``, and the global random state of the CPU and, on a GPU, of ``device``. Autocast is off inside.
    """
    modes = [(module, module.training) for module in model.modules()]
    weights = [(weight, weight.requires_grad, weight.grad) for weight in model.parameters()]
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.autocast(device.type, enabled=False):
        try:
            model.eval()
            for weight, _, _ in weights:
                weight.requires_grad_(False)
                weight.grad = None
            yield Meter(model).eval()
        finally:
            for module, training in modes:
                module.training = training
            for weight, requires_grad, grad in weights:
                weight.requires_grad_(requires_grad)
                weight.grad = grad


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights (or else buffers) lie; the CPU for a model that has neither."""
    tensors: Iterator[Tensor] = chain(model.parameters(), model.buffers())
    first = next(tensors, None)
    return torch.device("cpu") if first is None else first.device


def seed_global(seed: int, device: torch.device) -> None:
    """Seed the global stream that :func:`sealed` has set aside, and no other device's."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
