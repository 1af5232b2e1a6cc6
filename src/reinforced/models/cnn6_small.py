"""A small six-layer CNN with batch norm, for experiments that a CPU finishes in minutes."""

from __future__ import annotations

from torch import nn

from reinforced.models.layers import Shape, require_pixels


def cnn6_small(shape: Shape, classes: int) -> nn.Module:
    """Six 3x3 'same' convolutions C-24-24 | 48-48 | 96-96, each with batch norm and ReLU, then linear.

    A 2x2 max-pool after every pair, no dropout. The head reads the FLATTENED features
    (96 x H/8 x W/8: 1,536 at 32 pixels), not their mean. 177 k parameters at 3x32x32, K = 10.

    Raises:
        ReinforcedError: images smaller than 8x8, which three poolings reduce to nothing.
    """
    require_pixels("cnn6_small", shape, 8)
    channels, height, width = shape
    layers: list[nn.Module] = []
    for out in (24, 48, 96):
        for _ in range(2):
            # No bias: the batch norm that follows takes it away again.
            layers += [
                nn.Conv2d(channels, out, 3, padding=1, bias=False),
                nn.BatchNorm2d(out),
                nn.ReLU(),
            ]
            channels = out
        layers.append(nn.MaxPool2d(2))
    features = channels * (height // 8) * (width // 8)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, classes))
