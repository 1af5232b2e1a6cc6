"""The six-layer CNN of Zou et al. 2026."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from reinforced.models.layers import EvenSameConv2d, Shape, require_pixels


def cnn6(shape: Shape, classes: int) -> nn.Module:
    """Six 4x4 'same' convolutions in three pooled pairs, then 256 hidden units.

    C-264-128 | pool, dropout .2 | 512-128 | pool, dropout .25 | 128-128 | pool, dropout .35 | 256-K.
    Each convolution is followed by batch norm, then ReLU; the hidden layer by batch norm, ReLU and
    dropout .5. 3.7 M parameters and 1.14 G multiply-adds a forward at 3x32x32, K = 10.

    The layers carry the released code's names, so that its weights load.

    Source: Zou et al. 2026 (arXiv 2606.12251) and its released ``models/cnn.py``.

    Raises:
        ReinforcedError: images smaller than 8x8, which three poolings reduce to nothing.
    """
    require_pixels("cnn6", shape, 8)
    channels, height, width = shape
    layers: dict[str, nn.Module] = {}
    for stage, (first, second, dropout) in enumerate(((264, 128, 0.2), (512, 128, 0.25), (128, 128, 0.35))):
        for number, out in enumerate((first, second), 2 * stage + 1):
            layers[f"conv{number}"] = EvenSameConv2d(channels, out, 4)
            layers[f"bn{number}"] = nn.BatchNorm2d(out)
            layers[f"relu{number}"] = nn.ReLU()
            channels = out
        layers[f"pool{stage + 1}"] = nn.MaxPool2d(2)
        layers[f"drop{stage + 1}"] = nn.Dropout(dropout)
    layers["flatten"] = nn.Flatten()
    layers["fc1"] = nn.Linear(channels * (height // 8) * (width // 8), 256)
    layers |= {"bn7": nn.BatchNorm1d(256), "relu7": nn.ReLU(), "drop4": nn.Dropout(0.5)}
    layers["fc2"] = nn.Linear(256, classes)
    return nn.Sequential(OrderedDict(layers))
