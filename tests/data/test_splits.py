from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.data import stratified_split
from reinforced.data.splits import mixed
from reinforced.errors import ReinforcedError

label_lists = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(label_lists, st.data())
def test_parts_are_disjoint_sized_and_in_proportion(numbers: list[int], data: st.DataObject) -> None:
    labels = torch.tensor(numbers)
    total = len(labels)
    first = data.draw(st.integers(0, total))
    second = data.draw(st.integers(0, total - first))
    parts = stratified_split(labels, (first, second), data.draw(st.integers(0, 9)))
    assert [len(part) for part in parts] == [first, second]
    rows = torch.cat(parts)
    assert len(set(rows.tolist())) == first + second
    for part in parts:
        assert part.tolist() == sorted(part.tolist())
        share = labels.bincount() * len(part) / total
        assert (labels[part].bincount(minlength=len(share)) - share).abs().max() <= 1 + 5 / 2


@pytest.mark.parametrize("size", [10, 37, 100, 263])
def test_equal_classes_differ_by_one_image_at_most(size: int) -> None:
    labels = torch.arange(10).repeat(50)
    (part,) = stratified_split(labels, (size,), 0)
    counts = labels[part].bincount(minlength=10)
    assert counts.max() - counts.min() <= 1


def test_fraction_covers_everything() -> None:
    labels = torch.arange(5).repeat(8)
    kept, cut = stratified_split(labels, 0.25, 0)
    assert len(cut) == 10
    assert sorted(torch.cat([kept, cut]).tolist()) == list(range(40))
    assert labels[cut].bincount().tolist() == [2] * 5


def test_seed_decides_and_smaller_parts_nest() -> None:
    labels = torch.arange(5).repeat(20)
    small, again, other = (stratified_split(labels, (30,), seed)[0] for seed in (1, 1, 2))
    assert torch.equal(small, again)
    assert not torch.equal(small, other)
    assert set(small.tolist()) < set(stratified_split(labels, (60,), 1)[0].tolist())


@pytest.mark.parametrize("sizes", [(3, 3), (-1, 2)])
def test_impossible_sizes(sizes: tuple[int, ...]) -> None:
    with pytest.raises(ReinforcedError, match=r"cannot split 5 images into .*: at most 5 together"):
        stratified_split(torch.zeros(5, dtype=torch.int64), sizes, 0)


@pytest.mark.parametrize("labels", [[0] * 6 + [1] * 3 + [2] * 3, [2] * 4 + [0] * 4 + [1] * 4])
def test_images_that_come_class_by_class_are_mixed(labels: list[int]) -> None:
    found = torch.tensor(labels)
    order = mixed(found)
    assert order is not None
    assert sorted(order.tolist()) == list(range(12))
    half = found[order[:6]].bincount()
    assert (half - found.bincount() / 2).abs().max() <= 1
    assert torch.equal(order, mixed(found))  # type: ignore[arg-type]


@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 2, 2], [0, 1, 2], [1, 1, 1], [], [3]])
def test_any_other_order_is_kept(labels: list[int]) -> None:
    assert mixed(torch.tensor(labels, dtype=torch.int64)) is None
