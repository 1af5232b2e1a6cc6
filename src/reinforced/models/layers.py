"""What several of the papers' networks share: even-kernel 'same' convolutions and size checks."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from reinforced.errors import ReinforcedError

Shape = tuple[int, int, int]


class EvenSameConv2d(nn.Conv2d):
    """A ``kernel`` x ``kernel`` convolution, ``kernel`` even, whose output is as large as its input.

    An even kernel needs one more row and column of zeros below and right than above and left, as
    TensorFlow and torch's ``padding="same"`` have it. Same result as the latter to the last bit.

    Args:
        channels_in, channels_out: number of channels.
        kernel: side of the kernel in pixels, even.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=kernel // 2 - 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, channels_in, H, W)`` -> ``(B, channels_out, H, W)``."""
        # Only the odd row and column are copied; padding="same" also warns, a full F.pad is slower.
        out: Tensor = self._conv_forward(F.pad(x, (0, 1, 0, 1)), self.weight, self.bias)
        return out


def require_pixels(name: str, shape: Shape, least: int) -> None:
    """Refuse images too small for the network's poolings.

    Raises:
        ReinforcedError: ``shape`` (C, H, W) has a side shorter than ``least`` pixels.
    """
    _, height, width = shape
    if min(height, width) < least:
        raise ReinforcedError(
            f"{name} needs images of at least {least}x{least} pixels, got {height}x{width}; "
            "resize the images, or use 'tiny' (4x4 and larger)"
        )
