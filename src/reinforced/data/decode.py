"""One image file to pixels."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from reinforced.data.store import Array
from reinforced.errors import ReinforcedError

if TYPE_CHECKING:
    from PIL.Image import Image

_GREY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV")


class Item(NamedTuple):
    """An encoded image: where it comes from (for errors), and its bytes or its file."""

    where: str
    data: bytes | Path


def decode(item: Item, size: int | None) -> Array:
    """Pixels ``(H, W, C)`` uint8; C is 1 for a grey image, else 3. Transparency is dropped.

    Args:
        item: PNG, JPEG or whatever else Pillow reads; of an animation, the first frame.
        size: side of the square to :func:`fit` the image to; None: leave it as it is.

    Raises:
        ReinforcedError: not an image, a damaged one, or one with more than 8 bits a channel.
    """
    from PIL import Image  # noqa: PLC0415

    try:
        with Image.open(io.BytesIO(item.data) if isinstance(item.data, bytes) else item.data) as image:
            if image.mode not in _GREY + _COLOUR:
                raise ReinforcedError(f"{item.where} has pixels of type {image.mode}: give 8-bit images")
            # Pillow keeps the upper 8 of 16 bits a channel without a word.
            if any(";16" in str(tile[-1]) for tile in getattr(image, "tile", ())):
                raise ReinforcedError(f"{item.where} has 16 bits a channel: give 8-bit images")
            converted = image.convert("L" if image.mode in _GREY else "RGB")
        if size is not None:
            converted = fit(converted, size)
    except ReinforcedError:
        raise
    # Pillow's plugins raise nearly anything on damaged files: SyntaxError, struct.error, IndexError, ...
    except Exception as error:
        raise ReinforcedError(
            f"cannot decode {item.where} ({type(error).__name__}):"
            " not an image, or damaged; replace or remove it"
        ) from error
    return np.asarray(converted).reshape(converted.height, converted.width, -1)


def fit(image: Image, size: int) -> Image:
    """Resize the shorter side to ``size`` (bicubic, antialiased), then cut out the central square."""
    from PIL.Image import Resampling  # noqa: PLC0415

    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
