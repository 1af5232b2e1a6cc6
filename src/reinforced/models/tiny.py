"""A network of a few thousand weights, for the digits data and for tests."""

from __future__ import annotations

from torch import nn

from reinforced.models.layers import Shape, require_pixels


def tiny(shape: Shape, classes: int) -> nn.Module:
    """Two 3x3 'same' convolutions C-16-32 with ReLU, a max-pool to about 4x4, then linear.

    No batch norm and no dropout, so training and evaluation compute the same function. 9,930
    parameters at 1x8x8, K = 10; the pool's size grows with the image, so 32 pixels cost no more weights.

    Raises:
        ReinforcedError: images smaller than 4x4.
    """
    require_pixels("tiny", shape, 4)
    channels, height, width = shape
    down, across = height // 4, width // 4
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d((down, across)),
        nn.Flatten(),
        nn.Linear(32 * (height // down) * (width // across), classes),
    )
