"""The wrapper that carries a network's normalisation, so that every caller may hand it plain images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from reinforced.errors import ReinforcedError, did_you_mean

# Per-channel mean and standard deviation of the training images in [0, 1].
STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    # The released code's of Zou et al. 2026, whose weights leave them out. The std of its cifar10 is the
    # mean of each image's own, smaller than the .2470/.2435/.2616 over all pixels.
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "digits": ((0.3053,), (0.3759,)),
}


class Classifier(nn.Module):
    """``network`` behind ``(x - mean) / std``: [0, 1] images in, logits out.

    State-dict keys are always ``mean``, ``std`` (float32, ``(C, 1, 1)``; 0 and 1 for no
    normalisation) and ``network.*``. Mean 0 with standard deviation 1 costs nothing in ``forward``.

    Args:
        network: takes normalised images ``(B, C, H, W)``, returns logits ``(B, K)``.
        mean, std: one value a channel, in units of the [0, 1] image.

    Attributes:
        contiguous: lay images out as the network's code asks (one that flattens with ``view``).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).reshape(-1, 1, 1))
        self._normalizes = any(mean) or any(value != 1 for value in std)
        self.contiguous = False
        self.register_load_state_dict_post_hook(_read_statistics)  # type: ignore[no-untyped-call]

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` in [0, 1] -> logits ``(B, K)``."""
        x = (x - self.mean) / self.std if self._normalizes else x
        logits: Tensor = self.network(x.contiguous() if self.contiguous else x)
        return logits


def _read_statistics(model: nn.Module, _keys: Any) -> None:
    # A loaded mean that forward() then skipped would make every later number wrong.
    assert isinstance(model, Classifier)
    model._normalizes = bool(model.mean.any()) or not bool((model.std == 1).all())


def statistics(
    normalize: str, channels: int, network: nn.Module
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation, one value a channel, that ``normalize`` names.

    Args:
        normalize: ``"none"``, a key of :data:`STATISTICS`, or ``"pretrained"`` for what timm records
            with the network.
        channels: number of channels of the images.
        network: asked for its ``pretrained_cfg`` when ``normalize`` is ``"pretrained"``.

    Raises:
        ReinforcedError: unknown name, another number of channels, or a network without a record.
    """
    if normalize == "none":
        return (0.0,) * channels, (1.0,) * channels
    if normalize == "pretrained":
        record = getattr(network, "pretrained_cfg", None)
        if not record or "mean" not in record:
            raise ReinforcedError("normalize='pretrained' needs a timm:NAME model; use 'imagenet' or 'none'")
        mean, std = tuple(record["mean"]), tuple(record["std"])
    elif normalize in STATISTICS:
        mean, std = STATISTICS[normalize]
    else:
        hint = did_you_mean(normalize, [*STATISTICS, "none", "pretrained"])
        raise ReinforcedError(f"unknown normalize={normalize!r}{hint}")
    if len(mean) != channels:
        fits = [name for name, (values, _) in STATISTICS.items() if len(values) == channels]
        raise ReinforcedError(
            f"normalize={normalize!r} is for {len(mean)}-channel images, these have {channels}; "
            f"use {' or '.join(map(repr, [*fits, 'none']))}"
        )
    return mean, std
