from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest

from reinforced.data import decoded as module
from reinforced.data.decode import Item
from reinforced.data.decoded import decoded
from reinforced.data.places import decoded_folder
from reinforced.errors import ReinforcedError

Array = np.ndarray[Any, Any]


class Source:
    """Images in one made-up file, and how often they were asked for."""

    def __init__(self, folder: Path, images: list[Array], png: Callable[[Array], bytes]) -> None:
        self.encoded = [png(image) for image in images]
        self.labels = np.arange(len(images), dtype=np.int64)
        self.path = folder / "file"
        self.path.write_bytes(b"".join(self.encoded))
        self.asked = 0

    def items(self) -> Iterator[Item]:
        self.asked += 1
        for k, data in enumerate(self.encoded):
            yield Item(f"image {k}", data)

    def decoded(self, size: int | None = None, progress: bool = False) -> tuple[Array, str]:
        images, sha256 = decoded([("file", self.path)], self.items, self.labels, size=size, progress=progress)
        return images.numpy(), sha256


@pytest.fixture
def make(tmp_path: Path, png: Callable[[Array], bytes]) -> Callable[[list[Array]], Source]:
    return lambda images: Source(tmp_path, images, png)


def test_images_hash_and_cache_hit(make: Callable[..., Source], pictures: Callable[..., Array]) -> None:
    images = pictures(1200, 2)
    source = make(list(images))
    first, sha256 = source.decoded()
    assert np.array_equal(first, images)
    assert sha256 == hashlib.sha256(images.tobytes() + source.labels.astype("<i8").tobytes()).hexdigest()
    again, same = source.decoded()
    assert np.array_equal(again, images)
    assert same == sha256
    assert source.asked == 1
    assert sorted(path.suffix for path in decoded_folder().iterdir()) == [".json", ".npy"]


def test_another_size_or_a_changed_file_is_decoded_anew(
    make: Callable[..., Source], pictures: Callable[..., Array]
) -> None:
    source = make(list(pictures(3)))
    source.decoded()
    assert source.decoded(size=4)[0].shape == (3, 4, 4, 3)
    source.path.write_bytes(b"changed")
    source.decoded()
    assert source.asked == 3


def test_a_file_put_in_anothers_place_with_its_size_and_time_is_decoded_anew(
    make: Callable[..., Source], pictures: Callable[..., Array]
) -> None:
    source = make(list(pictures(3)))
    os.utime(source.path, (0, 0))
    source.decoded()
    other = source.path.with_name("other")
    other.write_bytes(source.path.read_bytes()[::-1])
    os.utime(other, (0, 0))
    other.replace(source.path)
    source.decoded()
    assert source.asked == 2


@pytest.mark.parametrize("suffix", [".npy", ".json"])
@pytest.mark.parametrize("damage", [b"", b"garbage", None])
def test_a_damaged_cache_is_decoded_anew(
    make: Callable[..., Source], pictures: Callable[..., Array], suffix: str, damage: bytes | None
) -> None:
    source = make(list(pictures(3)))
    images, sha256 = source.decoded()
    kept = images.copy()
    file = next(decoded_folder().glob(f"*{suffix}"))
    if damage is None:
        file.unlink()
    else:
        file.write_bytes(damage)
    again, same = source.decoded()
    assert np.array_equal(again, kept)
    assert same == sha256
    assert source.asked == 2


def test_grey_stays_grey_until_colour_comes(
    make: Callable[..., Source], pictures: Callable[..., Array]
) -> None:
    grey, colour = list(pictures(2, channels=1)), list(pictures(1))
    assert np.array_equal(make(grey).decoded()[0], grey)
    mixed = make(grey + colour).decoded()[0]
    assert mixed.shape == (3, 6, 6, 3)
    assert np.array_equal(mixed[0], np.repeat(grey[0], 3, axis=2))
    assert np.array_equal(mixed[2], colour[0])
    assert make(colour + grey).decoded()[0].shape == (3, 6, 6, 3)


def test_sizes_that_differ(make: Callable[..., Source], pictures: Callable[..., Array]) -> None:
    source = make([*pictures(1, 6), *pictures(1, 5)])
    with pytest.raises(ReinforcedError, match=r"image 1 is 5 x 5, the first image 6 x 6: give size=PIXELS"):
        source.decoded()
    assert not list(decoded_folder().iterdir())
    assert source.decoded(size=6)[0].shape == (2, 6, 6, 3)


def test_a_full_disk_leaves_nothing(
    make: Callable[..., Source], pictures: Callable[..., Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: BinaryIO, shape: tuple[int, ...]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "_header", full)
    with pytest.raises(ReinforcedError, match="disk full"):
        make(list(pictures(3))).decoded()
    assert not list(decoded_folder().iterdir())


def test_missing_rows(make: Callable[..., Source], pictures: Callable[..., Array]) -> None:
    source = make(list(pictures(3)))
    source.labels = np.arange(4)
    with pytest.raises(ReinforcedError, match="3 images for 4 labels"):
        source.decoded()


def test_progress_goes_to_standard_error(
    make: Callable[..., Source], pictures: Callable[..., Array], capsys: pytest.CaptureFixture[str]
) -> None:
    make(list(pictures(3))).decoded()
    assert capsys.readouterr() == ("", "")
    make(list(pictures(3))).decoded(size=5, progress=True)
    out, err = capsys.readouterr()
    assert not out
    assert "decoding images" in err
