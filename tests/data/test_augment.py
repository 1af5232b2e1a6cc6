from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from reinforced.data import Augment, augment
from reinforced.streams import Stream


class Recorded(Stream):
    """A stream that keeps what it drew; with ``fixed``, every draw is that number."""

    def __init__(self, seed: int = 0, fixed: float | None = None) -> None:
        super().__init__(seed, "augmentation")
        self.fixed = fixed
        self.drawn: list[Tensor] = []

    def uniform(self, rows: int, *shape: int) -> Tensor:
        draws = super().uniform(rows, *shape)
        if self.fixed is not None:
            draws = torch.full_like(draws, self.fixed)
        self.drawn.append(draws)
        return draws


def images(count: int = 5, height: int = 7, width: int = 9, channels: int = 3) -> Tensor:
    """Random pixels, none of them black, so that black means filled."""
    generator = torch.Generator().manual_seed(1)
    shape = (count, height, width, channels)
    return torch.randint(1, 256, shape, generator=generator, dtype=torch.uint8)


def reference(batch: Tensor, config: Augment, drawn: list[Tensor]) -> Tensor:
    """One image after the other, one pixel after the other, with the draws that were made."""
    draws = iter([draw.numpy() for draw in drawn])
    count, height, width, _ = batch.shape

    def integers(bound: int) -> list[int]:
        return [min(int(np.float32(u) * np.float32(bound)), bound - 1) for u in next(draws)]

    mirrored = next(draws) < 0.5 if config.horizontal_flip else [False] * count
    upended = next(draws) < 0.5 if config.vertical_flip else [False] * count
    limits = []
    if config.translate:
        limits.append((int(config.translate * height), int(config.translate * width)))
    if config.crop:
        limits.append((config.crop, config.crop))
    downs = [[n - limit for n in integers(2 * limit + 1)] for limit, _ in limits]
    rights = [[n - limit for n in integers(2 * limit + 1)] for _, limit in limits]
    if config.cutout:
        centre_rows, centre_columns = integers(height), integers(width)
    out = torch.zeros_like(batch)
    for b in range(count):
        source = batch[b]
        source = source.flip(1) if mirrored[b] else source
        source = source.flip(0) if upended[b] else source
        down, right = sum(d[b] for d in downs), sum(r[b] for r in rights)
        for row in range(height):
            for column in range(width):
                if 0 <= row - down < height and 0 <= column - right < width:
                    out[b, row, column] = source[row - down, column - right]
        if config.cutout:
            top, left = centre_rows[b] - config.cutout // 2, centre_columns[b] - config.cutout // 2
            out[b, max(top, 0) : max(top + config.cutout, 0), max(left, 0) : max(left + config.cutout, 0)] = 0
    return out


configs = st.builds(
    Augment,
    horizontal_flip=st.booleans(),
    vertical_flip=st.booleans(),
    translate=st.sampled_from([0.0, 0.1, 0.25, 1.0]),
    crop=st.integers(0, 12),
    cutout=st.integers(0, 12),
)


@settings(max_examples=40, deadline=None)
@given(configs, st.integers(0, 100), st.sampled_from([1, 3]))
def test_equals_the_slow_reference(config: Augment, seed: int, channels: int) -> None:
    batch = images(channels=channels)
    before = batch.clone()
    stream = Recorded(seed)
    out = augment(batch, config, stream)
    assert out.dtype == torch.uint8
    assert torch.equal(batch, before)
    assert torch.equal(out, reference(batch, config, stream.drawn))


def test_nothing_asked_nothing_drawn() -> None:
    batch, stream = images(), Recorded()
    assert augment(batch, Augment(), stream) is batch
    assert not stream.drawn


@pytest.mark.parametrize("fixed", [0.0, 1 - 2**-24])
def test_extreme_draws_stay_within_the_limits(fixed: float) -> None:
    batch = images(2)
    config = Augment(translate=0.3, crop=4, cutout=3)
    stream = Recorded(fixed=fixed)
    assert torch.equal(augment(batch, config, stream), reference(batch, config, stream.drawn))
    moved = augment(batch, Augment(crop=4), Recorded(fixed=fixed))
    kept = slice(4, None) if fixed else slice(None, -4)
    assert moved[:, kept, kept].all()


def test_permuted_views_are_the_same_images() -> None:
    batch, config = images(), Augment(horizontal_flip=True, crop=2, cutout=3)
    view = batch.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not view.is_contiguous()
    expected = augment(batch, config, Stream(0, "augmentation"))
    assert torch.equal(augment(view, config, Stream(0, "augmentation")), expected)


def test_each_image_has_its_own_draw_and_every_shift_comes_up() -> None:
    batch = images(1, 4, 4, 1).expand(2000, -1, -1, -1).contiguous()
    out = augment(batch, Augment(crop=1, horizontal_flip=True), Stream(0, "augmentation"))
    padded = torch.nn.functional.pad(batch[0], (0, 0, 1, 1, 1, 1))
    possible = {
        bytes(view[row : row + 4, column : column + 4].flatten().tolist())
        for row in range(3)
        for column in range(3)
        for view in (padded, padded.flip(1))
    }
    counts: dict[bytes, int] = {}
    for image in out:
        key = bytes(image.flatten().tolist())
        counts[key] = counts.get(key, 0) + 1
    assert set(counts) == possible
    expected = 2000 / 18
    chi_square = sum((count - expected) ** 2 / expected for count in counts.values())
    assert chi_square < 45  # 17 degrees of freedom: p < 0.0003 beyond


def test_processes_together_draw_what_one_draws() -> None:
    batch, config = images(6), Augment(horizontal_flip=True, crop=2, cutout=3)
    alone = augment(batch, config, Stream(3, "augmentation"))
    parts = [
        augment(batch[3 * rank : 3 * rank + 3], config, Stream(3, "augmentation", rank=rank, world=2))
        for rank in range(2)
    ]
    assert torch.equal(torch.cat(parts), alone)


def test_same_seed_same_images_and_the_stream_moves_on() -> None:
    batch, config, stream = images(), Augment(crop=3), Stream(0, "augmentation")
    first, second = augment(batch, config, stream), augment(batch, config, stream)
    assert torch.equal(first, augment(batch, config, Stream(0, "augmentation")))
    assert not torch.equal(first, second)
