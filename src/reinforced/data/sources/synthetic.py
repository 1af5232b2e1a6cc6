"""``synthetic:CLASSESxSIZE``: made-up images to try things with; no result on them means anything."""

from __future__ import annotations

import re
from dataclasses import replace

import torch
from torch.nn.functional import interpolate

from reinforced.data.store import Options, Store, from_arrays, refuse_size
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

TRAIN_A_CLASS, TEST_A_CLASS = 20, 5
LEAST_TRAIN, LEAST_TEST = 1000, 250
_PATTERN, _NOISE = 40.0, 40.0  # standard deviations in grey levels


def read(argument: str, options: Options) -> Store:
    """A smooth random pattern for each class plus noise for each image, always the same.

    20 training and 5 test images a class, but at least 1,000 and 250 together; 3 channels.

    Raises:
        ReinforcedError: ``argument`` is not like ``100x32``, or asks for another size than ``options``.
    """
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,2})", argument)
    if not match or int(match[1]) < 2 or int(match[2]) < 4:
        raise ReinforcedError(
            f"synthetic:{argument} is not CLASSESxSIZE with 2 to 9999 classes and 4 to 999 pixels,"
            " as in synthetic:100x32"
        )
    classes, size = int(match[1]), int(match[2])
    name = f"synthetic:{argument}"
    refuse_size(name, options.size, size, size)
    train, test = (
        max(least, -(-total // classes))
        for least, total in ((TRAIN_A_CLASS, LEAST_TRAIN), (TEST_A_CLASS, LEAST_TEST))
    )
    stream = Stream(0, name)
    patterns = interpolate(stream.normal(classes, 3, 4, 4), (size, size), mode="bicubic", align_corners=False)
    centres = 127.5 + _PATTERN * patterns.permute(0, 2, 3, 1)
    labels = torch.arange(classes).repeat(train + test)
    images = torch.empty((len(labels), size, size, 3), dtype=torch.uint8)
    for start in range(0, len(labels), classes):
        noise = _NOISE * stream.normal(classes, size, size, 3)
        images[start : start + classes] = (centres + noise).round().clamp(0, 255).to(torch.uint8)
    names = tuple(f"pattern {k}" for k in range(classes))
    store = from_arrays(name, names, images.numpy(), labels.numpy(), classes * train)
    return replace(store, name=f"{name} (made up)")
