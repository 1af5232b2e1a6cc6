from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reinforced.data.decode import Item, decode
from reinforced.errors import ReinforcedError


def encoded(image: Image.Image, kind: str = "PNG") -> Item:
    buffer = io.BytesIO()
    image.save(buffer, format=kind)
    return Item("somewhere", buffer.getvalue())


def test_lossless_files_come_back_exactly(
    pictures: Callable[..., np.ndarray[Any, Any]], png: Callable[..., bytes], tmp_path: Path
) -> None:
    for channels in (1, 3):
        pixels = pictures(1, 7, channels)[0]
        assert np.array_equal(decode(Item("x", png(pixels)), None), pixels)
    (tmp_path / "x.png").write_bytes(png(pixels))
    assert np.array_equal(decode(Item("x", tmp_path / "x.png"), 7), pixels)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGBA", 3), ("RGB", 3)]
)
def test_modes(mode: str, channels: int) -> None:
    assert decode(encoded(Image.new(mode, (5, 4))), None).shape == (4, 5, channels)


def test_cmyk_becomes_colour() -> None:
    assert decode(encoded(Image.new("CMYK", (5, 4)), "JPEG"), None).shape == (4, 5, 3)


@pytest.mark.parametrize(("width", "height", "size"), [(40, 20, 10), (20, 41, 10), (5, 7, 12), (33, 32, 32)])
def test_fit_resizes_the_shorter_side_and_cuts_the_centre(width: int, height: int, size: int) -> None:
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 2 - 1 : height // 2 + 1, :, 0] = 200
    pixels[:, width // 2 - 1 : width // 2 + 1, 1] = 200
    out = decode(encoded(Image.fromarray(pixels)), size)
    assert out.shape == (size, size, 3)
    rows, columns = out[..., 0].sum(1), out[..., 1].sum(0)
    for profile in (rows, columns):
        assert abs(np.average(np.arange(size), weights=profile) - (size - 1) / 2) <= 0.75 * max(
            1, size / min(width, height)
        )


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_sixteen_bits_a_channel_are_refused(colour: int, channels: int) -> None:
    """Pillow would read these as 8-bit ones."""

    def part(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", 3, 2, 16, colour, 0, 0, 0)
    rows = (b"\0" + b"\x80\xff" * 3 * channels) * 2
    png = (
        b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(rows)) + part(b"IEND", b"")
    )
    with pytest.raises(ReinforcedError, match="16 bits a channel: give 8-bit images"):
        decode(Item("it", png), None)


def test_sixteen_bits_are_refused() -> None:
    with pytest.raises(ReinforcedError, match="8-bit"):
        decode(encoded(Image.new("I;16", (5, 4))), None)


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400), st.sampled_from(["PNG", "JPEG", "BMP", "GIF"]))
def test_garbage_and_damage_are_one_line(garbage: bytes, cut: int, kind: str) -> None:
    whole = encoded(Image.effect_noise((9, 9), 90), kind).data
    assert isinstance(whole, bytes)
    for data in (garbage, whole[:cut], whole[:cut] + garbage + whole[cut + len(garbage) :]):
        message = ""
        try:
            assert decode(Item("somewhere", data), None).dtype == np.uint8
        except ReinforcedError as error:
            message = str(error)
        assert not message or "somewhere" in message
        assert "\n" not in message
