"""Batches of a split, on the device, read ahead where they come from a memory map."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor, nn

from reinforced.data import Split, to_float


def batches(split: Split, order: Tensor, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield uint8 (B, H, W, C) images and (B,) labels for consecutive rows of ``order``.

    A split that lies on the device is indexed there; one in a memory map is read one batch ahead in a
    thread, and copied without waiting.
    """
    if not len(order):
        return  # torch.split would give one empty batch
    rows = torch.split(order, size)
    if split.images.device == device and split.index is None:
        for row in rows:
            yield split.batch(row)
        return

    def read(row: Tensor) -> tuple[Tensor, Tensor]:
        images, labels = split.batch(row.cpu())
        if device.type == "cuda":
            images, labels = images.pin_memory(), labels.pin_memory()
        return images.to(device, non_blocking=True), labels.to(device, non_blocking=True)

    with ThreadPoolExecutor(max_workers=1) as reader:
        ahead = reader.submit(read, rows[0])
        for row in rows[1:]:
            ready, ahead = ahead, reader.submit(read, row)
            yield ready.result()
        yield ahead.result()


@torch.no_grad()
def count_correct(
    model: nn.Module, split: Split, device: torch.device, *, size: int = 512, limit: int | None = None
) -> int:
    """How many of a split's (first ``limit``) images the model gets right, in eval mode; it is put back."""
    training = model.training
    model.eval()
    correct = torch.zeros((), dtype=torch.int64, device=device)
    order = torch.arange(len(split), device=split.labels.device)[:limit]
    for images, labels in batches(split, order, size, device):
        correct += (model(to_float(images)).argmax(1) == labels).sum()
    model.train(training)
    return int(correct)
