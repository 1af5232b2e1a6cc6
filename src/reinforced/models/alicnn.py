"""The second, plain CNN of Zou et al. 2026: no batch norm."""

from __future__ import annotations

from torch import nn

from reinforced.models.layers import Shape, require_pixels


def alicnn(shape: Shape, classes: int) -> nn.Module:
    """3x3 'same' convolutions C-32-64 | pool, dropout .25 | 128 | pool | 128 | pool, dropout .25 | 1024-K.

    ReLU after each convolution and after the hidden layer, which is followed by dropout .5. No batch
    norm, so every image's output depends on that image alone, in training too (but for dropout).

    Source: Zou et al. 2026 (arXiv 2606.12251) and its released code. Zero padding and the places of
    the dropouts are this project's reading.

    Raises:
        ReinforcedError: images smaller than 8x8, which three poolings reduce to nothing.
    """
    require_pixels("alicnn", shape, 8)
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(128, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(128 * (height // 8) * (width // 8), 1024),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(1024, classes),
    )
