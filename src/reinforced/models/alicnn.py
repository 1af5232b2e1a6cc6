"""The second, plain CNN of Zou et al. 2026: no batch norm."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from reinforced.models.layers import Shape, require_pixels


def alicnn(shape: Shape, classes: int) -> nn.Module:
    """3x3 'same' convolutions C-32-64 | pool, dropout .25 | 128 | pool | 128 | pool, dropout .25 | 1024-K.

    ReLU after each convolution and after the hidden layer, which is followed by dropout .5. No batch
    norm, so every image's output depends on that image alone, in training too (but for dropout).

    The layers carry the released code's names, so that its weights load.

    Source: Zou et al. 2026 (arXiv 2606.12251) and its released ``models/alicnn.py``.

    Raises:
        ReinforcedError: images smaller than 8x8, which three poolings reduce to nothing.
    """
    require_pixels("alicnn", shape, 8)
    channels, height, width = shape
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, 32, 3, padding=1),
        "relu1": nn.ReLU(),
        "conv2": nn.Conv2d(32, 64, 3, padding=1),
        "relu2": nn.ReLU(),
        "pool1": nn.MaxPool2d(2),
        "dropout1": nn.Dropout(0.25),
        "conv3": nn.Conv2d(64, 128, 3, padding=1),
        "relu3": nn.ReLU(),
        "pool2": nn.MaxPool2d(2),
        "conv4": nn.Conv2d(128, 128, 3, padding=1),
        "relu4": nn.ReLU(),
        "pool3": nn.MaxPool2d(2),
        "dropout2": nn.Dropout(0.25),
        "flatten": nn.Flatten(),
        "fc1": nn.Linear(128 * (height // 8) * (width // 8), 1024),
        "relu5": nn.ReLU(),
        "dropout3": nn.Dropout(0.5),
        "fc2": nn.Linear(1024, classes),
    }
    return nn.Sequential(OrderedDict(layers))
