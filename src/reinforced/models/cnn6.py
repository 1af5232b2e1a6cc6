"""The six-layer CNN of Zou et al. 2026."""

from __future__ import annotations

from torch import nn

from reinforced.models.layers import EvenSameConv2d, Shape, require_pixels


def cnn6(shape: Shape, classes: int) -> nn.Module:
    """Six 4x4 'same' convolutions in three pooled pairs, then 256 hidden units.

    C-264-128 | pool, dropout .2 | 512-128 | pool, dropout .25 | 128-128 | pool, dropout .35 | 256-K.
    Each convolution is followed by batch norm, then ReLU; the hidden layer by batch norm, ReLU and
    dropout .5. 3.7 M parameters and 1.14 G multiply-adds a forward at 3x32x32, K = 10.

    Source: Zou et al. 2026 (arXiv 2606.12251) and its released code. The order within a block
    (convolution, batch norm, ReLU) is this project's reading.

    Raises:
        ReinforcedError: images smaller than 8x8, which three poolings reduce to nothing.
    """
    require_pixels("cnn6", shape, 8)
    channels, height, width = shape
    layers: list[nn.Module] = []
    for first, second, dropout in ((264, 128, 0.2), (512, 128, 0.25), (128, 128, 0.35)):
        for out in (first, second):
            layers += [EvenSameConv2d(channels, out, 4), nn.BatchNorm2d(out), nn.ReLU()]
            channels = out
        layers += [nn.MaxPool2d(2), nn.Dropout(dropout)]
    features = channels * (height // 8) * (width // 8)
    layers += [nn.Flatten(), nn.Linear(features, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(256, classes))
