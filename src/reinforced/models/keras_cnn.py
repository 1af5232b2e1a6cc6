"""The convolutional network of the classic Keras CIFAR-10 example."""

from __future__ import annotations

from torch import nn

from reinforced.models.layers import Shape, require_pixels


def keras_cnn(shape: Shape, classes: int) -> nn.Module:
    """3x3 convolutions C-32-32 | pool, dropout .25 | 64-64 | pool, dropout .25, then 512-K.

    The first convolution of each pair is 'same', the second 'valid'; dropout .5 after the hidden
    layer; ReLU throughout, no batch norm. Keras' first weights: Glorot uniform, biases zero.
    1,250,858 parameters at 3x32x32, K = 10.

    Source: Keras' ``examples/cifar10_cnn.py``, which Gupta 2020 (arXiv 2012.04353) trains.

    Raises:
        ReinforcedError: images smaller than 10x10, which the 'valid' convolutions reduce to nothing.
    """
    require_pixels("keras_cnn", shape, 10)
    channels, height, width = shape
    network = nn.Sequential(
        *_block(channels, 32), *_block(32, 64), nn.Flatten(),
        nn.Linear(64 * _side(height) * _side(width), 512), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(512, classes),
    )  # fmt: skip
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network


def _block(channels: int, out: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, out, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(out, out, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
    ]


def _side(pixels: int) -> int:
    return ((pixels - 2) // 2 - 2) // 2
