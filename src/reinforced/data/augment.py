"""Random flips, shifts and cut-outs of uint8 images, a batch at a time, each image its own draw."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from reinforced.component import Component, setting
from reinforced.streams import Stream


class Augment(Component):
    """What to vary. Shifts are whole pixels; what comes in from outside is black."""

    horizontal_flip: bool = setting(False, "mirror each image left to right with probability 1/2")
    vertical_flip: bool = setting(False, "mirror each image top to bottom with probability 1/2")
    translate: float = setting(
        0.0, "largest shift, uniform, rounded down to pixels", unit="fraction of the side", ge=0, le=1
    )
    crop: int = setting(
        0, "largest shift, uniform (pad by it, cut out at random); adds to translate", unit="px", ge=0
    )
    cutout: int = setting(
        0, "side of a black square; its centre is uniform, the borders clip it", unit="px", ge=0
    )


def augment(images: Tensor, config: Augment, stream: Stream) -> Tensor:
    """Vary a batch: uint8 ``(B, H, W, C)`` -> uint8 ``(B, H, W, C)`` on the same device.

    An image is flipped, then shifted, then cut out. How many numbers are drawn depends on ``config`` and B
    alone. Nothing waits for the device. ``stream`` must be on the images' device.
    """
    if config == Augment():
        return images
    batch, height, width, _ = images.shape
    if config.horizontal_flip:
        images = _mirrored(images, _coin(stream, batch), dim=2)
    if config.vertical_flip:
        images = _mirrored(images, _coin(stream, batch), dim=1)
    limits = [(int(config.translate * height), int(config.translate * width))] if config.translate else []
    limits += [(config.crop, config.crop)] if config.crop else []
    if limits:
        down = torch.stack([_shift(stream, batch, limit) for limit, _ in limits]).sum(0)
        right = torch.stack([_shift(stream, batch, limit) for _, limit in limits]).sum(0)
        images = _shifted(images, down, right, *(sum(sides) for sides in zip(*limits, strict=True)))
    if config.cutout:
        rows, columns = (_square(stream, batch, side, config.cutout) for side in (height, width))
        images = _blackened(images, rows, columns)
    return images


def _coin(stream: Stream, batch: int) -> Tensor:
    return stream.uniform(batch) < 0.5


def _below(stream: Stream, batch: int, bound: int) -> Tensor:
    """Uniform int64 draws in [0, bound): ``(B,)``."""
    # In float32 the largest draw times the bound can round up to the bound itself.
    return (stream.uniform(batch) * bound).long().clamp(max=bound - 1)


def _shift(stream: Stream, batch: int, limit: int) -> Tensor:
    return _below(stream, batch, 2 * limit + 1) - limit


def _mirrored(images: Tensor, chosen: Tensor, dim: int) -> Tensor:
    # Whole images are copied from one of two stores: a third of torch.where's time.
    both = torch.cat([images, images.flip(dim)])
    return both.index_select(0, torch.arange(len(images), device=images.device) + len(images) * chosen)


def _shifted(images: Tensor, down: Tensor, right: Tensor, limit_down: int, limit_right: int) -> Tensor:
    """Move image b by ``down[b]`` rows and ``right[b]`` columns, at most the limits either way.

    Rows of the result are runs of bytes in the padded images, taken through an overlapping view:
    copying runs is faster than indexing pixels (0.2 against 1.4 ms for 256 x 32 x 32 x 3 on one core).
    """
    batch, height, width, channels = images.shape
    # contiguous: a no-op, unless the images came as a permuted view, whose strides padding keeps.
    padded = pad(images, (0, 0, limit_right, limit_right, limit_down, limit_down)).contiguous()
    rows, columns = padded.shape[1:3]
    runs = padded.as_strided((batch * rows * columns - width + 1, width * channels), (channels, 1))
    image = torch.arange(batch, device=images.device)[:, None]
    row = torch.arange(height, device=images.device) + (limit_down - down)[:, None]
    start = (image * rows + row) * columns + (limit_right - right)[:, None]
    return runs.index_select(0, start.flatten()).view(images.shape)


def _blackened(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Set to 0 where ``rows`` ``(B, H)`` and ``columns`` ``(B, W)`` are both true."""
    batch, height, width, channels = images.shape
    # The mask in the layout and type of the bytes, so that one fast pass runs over both.
    kept = ~rows[:, :, None] | ~columns.repeat_interleave(channels, dim=1)[:, None, :]
    return (images.reshape(batch, height, width * channels) * kept.view(torch.uint8)).view(images.shape)


def _square(stream: Stream, batch: int, side: int, length: int) -> Tensor:
    """Which of ``side`` places a run of ``length`` around a random centre covers: ``(B, side)`` bool."""
    first = _below(stream, batch, side) - length // 2
    place = torch.arange(side, device=first.device)
    return (place >= first[:, None]) & (place < first[:, None] + length)
