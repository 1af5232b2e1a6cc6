"""Classifiers: [0, 1] images in, logits out, normalisation inside.

A name is one of :func:`names`, ``mlp:ACTIVATION-WIDTH-...``, ``timm:NAME`` for any of timm's networks, or
``module:function`` for your own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from reinforced.errors import ReinforcedError, did_you_mean
from reinforced.models.alicnn import alicnn
from reinforced.models.classifier import Classifier, statistics
from reinforced.models.cnn6 import cnn6
from reinforced.models.cnn6_small import cnn6_small
from reinforced.models.dry_run import dry_run, takes
from reinforced.models.keras_cnn import keras_cnn
from reinforced.models.layers import Shape
from reinforced.models.layout import channels_last
from reinforced.models.mlp import mlp
from reinforced.models.preact_resnet import preact_resnet18
from reinforced.models.resnet import resnet18_cifar
from reinforced.models.timm_models import timm_network
from reinforced.models.tiny import tiny
from reinforced.models.user import user_network
from reinforced.models.weights import load_weights
from reinforced.models.wide_resnet import wide_resnet28_10, wide_resnet34_10

__all__ = ["Classifier", "build", "channels_last", "load_weights", "names"]

_BUILT_IN: dict[str, Callable[[Shape, int], nn.Module]] = {
    "alicnn": alicnn,
    "cnn6": cnn6,
    "cnn6_small": cnn6_small,
    "keras_cnn": keras_cnn,
    "preact_resnet18": preact_resnet18,
    "resnet18_cifar": resnet18_cifar,
    "tiny": tiny,
    "wide_resnet28_10": wide_resnet28_10,
    "wide_resnet34_10": wide_resnet34_10,
}


def names() -> list[str]:
    """Names of the built-in networks."""
    return sorted(_BUILT_IN)


def build(
    name: str,
    *,
    shape: tuple[int, int, int],
    classes: int,
    pretrained: bool = False,
    weights: str | Path | None = None,
    normalize: str = "none",
) -> nn.Module:
    """A classifier in train mode on the CPU; its first weights come from torch's global generator.

    Args:
        name: a built-in network, ``mlp:tanh-64-64``, ``timm:NAME`` or ``module:function``.
        shape: (C, H, W) of the images.
        classes: number of classes K.
        pretrained: start from timm's own weights (``timm:NAME`` only).
        weights: a ``.safetensors``, ``.pth`` or ``.pt`` file to load, see :func:`load_weights`.
        normalize: ``none``, ``cifar10``, ``cifar100``, ``imagenet``, ``digits`` or ``pretrained`` (the
            mean and standard deviation that timm records with the network).

    Returns:
        A :class:`Classifier`: float images ``(B, C, H, W)`` in [0, 1] -> logits ``(B, K)``.

    Raises:
        ReinforcedError: anything that does not fit together, in one line.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ReinforcedError(f"shape must be (channels, height, width), got {shape}; e.g. (3, 32, 32)")
    if classes < 2:
        raise ReinforcedError(f"a classifier needs at least 2 classes, got {classes}")
    network = _network(name, shape, classes, pretrained)
    model = Classifier(network, *statistics(normalize, shape[0], network))
    if name not in _BUILT_IN:
        dry_run(name, network, shape, classes)
        model.contiguous = not takes(network, shape, classes, torch.channels_last)
    if weights is not None:
        load_weights(model, weights)
    return model


def _network(name: str, shape: Shape, classes: int, pretrained: bool) -> nn.Module:
    if name.startswith("timm:"):
        return timm_network(name.removeprefix("timm:"), shape, classes, pretrained)
    if pretrained:
        raise ReinforcedError(f"no pretrained weights for {name!r}; give weights=FILE, or a timm:NAME model")
    if name in _BUILT_IN:
        return _BUILT_IN[name](shape, classes)
    if name.startswith("mlp:"):
        return mlp(name.removeprefix("mlp:"), shape, classes)
    if ":" in name:
        return user_network(name, shape, classes)
    hint = did_you_mean(name, names())
    raise ReinforcedError(f"unknown network {name!r}{hint} (or timm:NAME, or your own module:function)")
