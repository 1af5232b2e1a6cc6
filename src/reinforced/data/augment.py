"""Random flips, shifts and cut-outs of uint8 images, a batch at a time, each image its own draw."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from reinforced.streams import Stream


@dataclass(frozen=True)
class Augment:
    """What to vary. Shifts are whole pixels; what comes in from outside is black.

    Attributes:
        horizontal_flip, vertical_flip: mirror each image with probability 1/2.
        translate: largest shift as a fraction of the side (rounded down to pixels), uniform.
        crop: largest shift in pixels, uniform (pad by ``crop``, cut out at random); adds to ``translate``.
        cutout: side in pixels of a black square; its centre is uniform, the borders clip it.
    """

    horizontal_flip: bool = False
    vertical_flip: bool = False
    translate: float = 0.0
    crop: int = 0
    cutout: int = 0


def augment(images: Tensor, config: Augment, stream: Stream) -> Tensor:
    """Vary a batch: uint8 ``(B, H, W, C)`` -> uint8 ``(B, H, W, C)`` on the same device.

    An image is flipped, then shifted, then cut out. How many numbers are drawn depends on ``config`` and B
    alone. Nothing waits for the device. ``stream`` must be on the images' device.
    """
    if config == Augment():
        return images
    batch, height, width, _ = images.shape
    if config.horizontal_flip:
        images = torch.where(_coin(stream, batch).view(-1, 1, 1, 1), images.flip(2), images)
    if config.vertical_flip:
        images = torch.where(_coin(stream, batch).view(-1, 1, 1, 1), images.flip(1), images)
    limits = [(int(config.translate * height), int(config.translate * width))] if config.translate else []
    limits += [(config.crop, config.crop)] if config.crop else []
    if limits:
        down = torch.stack([_shift(stream, batch, limit) for limit, _ in limits]).sum(0)
        right = torch.stack([_shift(stream, batch, limit) for _, limit in limits]).sum(0)
        images = _shifted(images, down, right, *(sum(sides) for sides in zip(*limits, strict=True)))
    if config.cutout:
        inside = (
            _square(stream, batch, height, config.cutout)[:, :, None]
            & _square(stream, batch, width, config.cutout)[:, None, :]
        )
        images = images.masked_fill(inside.unsqueeze(-1), 0)
    return images


def _coin(stream: Stream, batch: int) -> Tensor:
    return stream.uniform(batch) < 0.5


def _below(stream: Stream, batch: int, bound: int) -> Tensor:
    """Uniform int64 draws in [0, bound): ``(B,)``."""
    # In float32 the largest draw times the bound can round up to the bound itself.
    return (stream.uniform(batch) * bound).long().clamp(max=bound - 1)


def _shift(stream: Stream, batch: int, limit: int) -> Tensor:
    return _below(stream, batch, 2 * limit + 1) - limit


def _shifted(images: Tensor, down: Tensor, right: Tensor, limit_down: int, limit_right: int) -> Tensor:
    """Move image b by ``down[b]`` rows and ``right[b]`` columns, at most the limits either way.

    Rows of the result are runs of bytes in the padded images, taken through an overlapping view:
    copying runs is faster than indexing pixels (0.6 against 1.4 ms for 256 x 32 x 32 x 3 on one core).
    """
    batch, height, width, channels = images.shape
    padded = pad(images, (0, 0, limit_right, limit_right, limit_down, limit_down))
    rows, columns = padded.shape[1:3]
    runs = padded.as_strided((batch * rows * columns - width + 1, width * channels), (channels, 1))
    image = torch.arange(batch, device=images.device)[:, None]
    row = torch.arange(height, device=images.device) + (limit_down - down)[:, None]
    start = (image * rows + row) * columns + (limit_right - right)[:, None]
    return runs.index_select(0, start.flatten()).view(images.shape)


def _square(stream: Stream, batch: int, side: int, length: int) -> Tensor:
    """Which of ``side`` places a run of ``length`` around a random centre covers: ``(B, side)`` bool."""
    first = _below(stream, batch, side) - length // 2
    place = torch.arange(side, device=first.device)
    return (place >= first[:, None]) & (place < first[:, None] + length)
