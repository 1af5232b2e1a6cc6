from __future__ import annotations

import pytest
import torch

from reinforced.streams import Stream


def test_same_seed_and_name_same_draws() -> None:
    assert torch.equal(Stream(3, "a").uniform(5, 2), Stream(3, "a").uniform(5, 2))


@pytest.mark.parametrize(("seed", "name"), [(4, "a"), (3, "b"), (3, "a ")])
def test_another_seed_or_name_gives_other_draws(seed: int, name: str) -> None:
    assert not torch.equal(Stream(3, "a").uniform(5), Stream(seed, name).uniform(5))


def test_one_streams_draws_never_shift_another() -> None:
    alone = Stream(0, "order").permutation(50)
    other, order = Stream(0, "exploration"), Stream(0, "order")
    other.uniform(1000)
    torch.rand(3)
    assert torch.equal(order.permutation(50), alone)
    before = torch.get_rng_state()
    other.normal(4)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("world", [1, 2, 4])
@pytest.mark.parametrize("draw", ["uniform", "normal"])
def test_the_ranks_slices_make_up_the_global_batch(world: int, draw: str) -> None:
    whole = getattr(Stream(7, "x"), draw)(8, 3)
    streams = [Stream(7, "x", rank=rank, world=world) for rank in range(world)]
    assert torch.equal(torch.cat([getattr(each, draw)(8 // world, 3) for each in streams]), whole)
    # And they stay together afterwards.
    assert len({each.get_state().numpy().tobytes() for each in streams}) == 1


def test_shared_draws_are_alike_everywhere() -> None:
    first, second = (Stream(7, "x", rank=rank, world=2) for rank in range(2))
    assert torch.equal(first.shared_uniform(3), second.shared_uniform(3))
    assert torch.equal(first.permutation(9), second.permutation(9))


def test_ranges_and_types() -> None:
    stream = Stream(0, "x")
    draws = stream.uniform(10_000)
    assert draws.dtype is torch.float32
    assert 0 <= draws.min() < 0.01
    assert 0.99 < draws.max() < 1
    assert abs(stream.normal(10_000).std() - 1) < 0.05
    assert stream.permutation(9).sort().values.tolist() == list(range(9))


def test_the_state_comes_back() -> None:
    stream = Stream(0, "x")
    stream.uniform(3)
    state = stream.get_state()
    expected = stream.uniform(4)
    other = Stream(99, "y")
    other.set_state(state)
    assert torch.equal(other.uniform(4), expected)
    assert state.dtype is torch.uint8
    assert state.device.type == "cpu"
