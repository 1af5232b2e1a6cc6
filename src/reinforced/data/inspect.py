"""Looking at a dataset: figures, a contact sheet, and an archive to take away."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from reinforced.data.dataset import SPLITS, Dataset, Split
from reinforced.files import atomic

_CHUNK = 1024
_CELL, _GAP, _MARGIN = 48, 2, 120  # pixels


@dataclass(frozen=True)
class Summary:
    """Figures of a dataset.

    Attributes:
        name, sha256: the dataset's.
        shape: (C, H, W) of an image.
        counts: number of images of each split.
        per_class: number of images of each class, split by split; in the order of ``classes``.
        minimum, maximum, mean, std: one figure a channel over the training split, in [0, 1].
    """

    name: str
    sha256: str
    classes: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: dict[str, int]
    per_class: dict[str, tuple[int, ...]]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def summarise(dataset: Dataset) -> Summary:
    """Count the images and measure the training split's channels, exactly and a chunk at a time."""
    splits: dict[str, Split] = {name: getattr(dataset, name) for name in SPLITS}
    channels = [_moments(histogram) for histogram in _histograms(dataset.train)]
    minimum, maximum, mean, std = zip(*channels, strict=True)
    return Summary(
        name=dataset.name,
        sha256=dataset.sha256,
        classes=dataset.classes,
        shape=dataset.train.shape,
        counts={name: len(split) for name, split in splits.items()},
        per_class={
            name: tuple(split.labels.bincount(minlength=len(dataset.classes)).tolist())
            for name, split in splits.items()
        },
        minimum=minimum,
        maximum=maximum,
        mean=mean,
        std=std,
    )


def contact_sheet(dataset: Dataset, path: Path, rows: int = 10, columns: int = 10) -> None:
    """Write a PNG: the first ``columns`` training images of each of the first ``rows`` classes.

    Small images are enlarged without smoothing, large ones shrunk, so that all cells are alike.

    Raises:
        ReinforcedError: ``path`` cannot be written.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415

    names = dataset.classes[:rows]
    _, height, width = dataset.train.shape
    scale = max(1, round(_CELL / height)) if height <= 2 * _CELL else 2 * _CELL / height
    cell_width, cell_height = round(width * scale), round(height * scale)
    sheet = Image.new(
        "RGB", (_MARGIN + columns * (cell_width + _GAP), len(names) * (cell_height + _GAP)), "white"
    )
    draw = ImageDraw.Draw(sheet)
    smoothing = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BICUBIC
    for row, name in enumerate(names):
        top = row * (cell_height + _GAP)
        draw.text((4, top + cell_height // 2), name[:18], fill="black", anchor="lm")
        for column, pixels in enumerate(_first_of(dataset.train, row, columns)):
            image = Image.fromarray(pixels.cpu().expand(-1, -1, 3).numpy())
            enlarged = image.resize((cell_width, cell_height), smoothing)
            sheet.paste(enlarged, (_MARGIN + column * (cell_width + _GAP), top))
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def save_npz(dataset: Dataset, path: Path) -> None:
    """Write the dataset as a compressed archive that ``npz:PATH`` reads.

    ``X_train``, ``y_train`` are the training split followed by the validation split; ``classes`` the names.

    Raises:
        ReinforcedError: ``path`` cannot be written.
    """
    train, validation, test = (split.to("cpu") for split in (dataset.train, dataset.validation, dataset.test))
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            X_train=torch.cat([train.images, validation.images]).numpy(),
            y_train=torch.cat([train.labels, validation.labels]).numpy(),
            X_test=test.images.numpy(),
            y_test=test.labels.numpy(),
            classes=np.array(dataset.classes),
        )


def _histograms(split: Split) -> Tensor:
    """How often each of the 256 values comes up in each channel: ``(C, 256)`` int64."""
    counts = torch.zeros((split.shape[0], 256), dtype=torch.int64)
    for start in range(0, len(split), _CHUNK):
        images, _ = split.batch(torch.arange(start, min(start + _CHUNK, len(split))))
        for channel in range(len(counts)):
            counts[channel] += images[..., channel].flatten().bincount(minlength=256).cpu()
    return counts


def _moments(histogram: Tensor) -> tuple[float, float, float, float]:
    """Minimum, maximum, mean and standard deviation in [0, 1] of one channel's histogram ``(256,)``."""
    values = torch.arange(256, dtype=torch.float64) / 255
    seen = values[histogram > 0]
    share = histogram.double() / histogram.sum()
    mean = (share * values).sum()
    std = (share * (values - mean) ** 2).sum().sqrt()
    return seen.min().item(), seen.max().item(), mean.item(), std.item()


def _first_of(split: Split, label: int, count: int) -> Tensor:
    """The first ``count`` images of a class: ``(<=count, H, W, C)`` uint8."""
    return split.batch((split.labels == label).nonzero().flatten()[:count])[0]
