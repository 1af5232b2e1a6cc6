"""A dataset in memory or on disk: uint8 images, class numbers, and the rows of each split."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """Some rows of an image store.

    Attributes:
        images: ``(M, H, W, C)`` uint8, contiguous. It may be a read-only memory map: never write into it.
        labels: ``(N,)`` int64 class numbers, one for each image of the split.
        index: ``(N,)`` int64 rows of ``images`` that the split holds; None: all rows, in order.
    """

    images: Tensor
    labels: Tensor
    index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width

    def batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Images ``(B, H, W, C)`` uint8 and labels ``(B,)`` of ``rows`` ``(B,)`` int64, in any order.

        Both are on the split's own device.
        """
        rows = rows.to(self.labels.device)
        held = rows if self.index is None else self.index.index_select(0, rows)
        return self.images.index_select(0, held), self.labels.index_select(0, rows)

    def to(self, device: torch.device | str) -> Split:
        """The split's own images on ``device``, without the store's other rows (``index`` is None)."""
        images = self.images if self.index is None else self.images.index_select(0, self.index)
        return Split(images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Three disjoint splits of one source.

    Attributes:
        name: the source, as the user named it.
        classes: names of the classes; class k of the labels is ``classes[k]``.
        sha256: hash of all the source's images (uint8, N x H x W x C) followed by all its labels (int64,
            little-endian), training images before test images, whatever the splits.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    validation: Split
    test: Split
    sha256: str

    def to(self, device: torch.device | str) -> Dataset:
        """Every split on ``device``; see :meth:`Split.to`."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )


def to_float(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uint8 ``(B, H, W, C)`` -> ``(B, C, H, W)`` of ``dtype`` in [0, 1].

    The result keeps the order of the bytes, so it is channels_last without a copy.
    """
    return images.permute(0, 3, 1, 2).to(dtype).div_(255)


def place(dataset: Dataset, device: torch.device | str) -> Dataset:
    """The dataset on ``device`` if its images take less than half of the memory free there.

    Otherwise it is given back as it is: memory-mapped on the CPU, to be moved batch by batch.
    """
    device = torch.device(device)
    needed = sum(
        len(split) * math.prod(split.shape) for split in (dataset.train, dataset.validation, dataset.test)
    )
    return dataset.to(device) if needed < _free_memory(device) / 2 else dataset


def _free_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # Elsewhere (macOS) the system does not tell what is free without another dependency.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
