"""One forward pass on blank images, so that a network that does not fit fails when it is built."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.errors import ReinforcedError
from reinforced.models.layers import Shape


def dry_run(
    name: str,
    network: nn.Module,
    shape: Shape,
    classes: int,
    layout: torch.memory_format = torch.contiguous_format,
) -> None:
    """Check that ``network`` takes two images of ``shape`` (C, H, W) and returns logits ``(2, classes)``.

    ``layout`` is that of the images in memory.
    Runs in eval mode; modes and torch's random state are left as they were.

    Raises:
        ReinforcedError: the forward pass fails, or returns something else.
    """
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            logits = network(torch.zeros(2, *shape).contiguous(memory_format=layout))
    except Exception as error:
        size = "x".join(map(str, shape))
        detail = " ".join(str(error).split())[:160]
        raise ReinforcedError(f"{name} cannot take {size} images ({detail}); {_hint(network)}") from error
    finally:
        for module, training in modes:
            module.training = training
    if not isinstance(logits, Tensor):
        raise ReinforcedError(f"{name} returns a {type(logits).__name__}; it must return the logits alone")
    if logits.shape != (2, classes):
        raise ReinforcedError(
            f"{name} returns {tuple(logits.shape)} for 2 images; {classes} classes need (2, {classes})"
        )


def takes(
    network: nn.Module, shape: Shape, classes: int, layout: torch.memory_format = torch.contiguous_format
) -> bool:
    """Whether :func:`dry_run` finds nothing wrong."""
    try:
        dry_run("the network", network, shape, classes, layout)
    except ReinforcedError:
        return False
    return True


def _hint(network: nn.Module) -> str:
    record = getattr(network, "pretrained_cfg", None) or {}
    if "input_size" not in record:
        return "check its shape argument"
    _, height, width = record["input_size"]
    return f"resize to its own {height}x{width}, or use 'cnn6_small' (8x8 and larger) or 'resnet18_cifar'"
