"""Stratified splits: disjoint parts in which every class has its share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


def stratified_split(labels: Tensor, sizes: Sequence[int] | float, seed: int) -> tuple[Tensor, ...]:
    """Disjoint row numbers, each part with every class in proportion, but for rounding.

    The images of each class are shuffled and spread evenly over one order of all images; the parts are
    consecutive pieces of it. So for one seed a smaller first part lies inside a larger one.

    Args:
        labels: ``(N,)`` int64 class numbers.
        sizes: how many images each part gets, together at most N; or a fraction f, short for the two
            parts ``(N - round(f * N), round(f * N))``.
        seed: which of the possible splits.

    Returns:
        One ascending int64 tensor of rows for each part.

    Raises:
        ReinforcedError: the sizes are negative, or ask for more images than there are.
    """
    total = len(labels)
    if isinstance(sizes, float):
        sizes = (total - round(sizes * total), round(sizes * total))
    if sum(sizes) > total or min(sizes) < 0:
        wanted = " + ".join(map(str, sizes))
        raise ReinforcedError(f"cannot split {total} images into {wanted}: at most {total} together")
    ends = torch.tensor(sizes).cumsum(0).tolist()
    order = _spread(labels, Stream(seed, "split"))
    return tuple(order[end - size : end].sort().values for size, end in zip(sizes, ends, strict=True))


def mixed(labels: Tensor) -> Tensor | None:
    """An order ``(N,)`` of all classes throughout, for images that come class by class; else ``None``.

    Of such the first n, which are probed, evaluated or averaged over, would be of a class or two.
    """
    changes = int((labels.diff() != 0).sum())
    by_class = 0 < changes < len(labels) - 1 and changes == int(labels.bincount().count_nonzero()) - 1
    return _spread(labels, Stream(0, "mixed")) if by_class else None


def _spread(labels: Tensor, stream: Stream) -> Tensor:
    """All rows in an order where every stretch holds the classes in proportion: ``(N,)`` int64."""
    shuffled = stream.permutation(len(labels))
    rows = shuffled[labels[shuffled].argsort(stable=True)]  # class by class, shuffled within each
    counts = labels.bincount()
    place = torch.arange(len(labels)) - (counts.cumsum(0) - counts)[labels[rows]]
    position = torch.empty(len(labels), dtype=torch.float64)
    position[rows] = (place + 0.5).double() / counts[labels[rows]]
    return position.argsort(stable=True)
