"""What must hold of images, labels and logits before any score means anything."""

from __future__ import annotations

import torch
from torch import Tensor

from reinforced.errors import ReinforcedError


def check_inputs(images: Tensor, labels: Tensor) -> None:
    """Images are (N, C, H, W) float32 in [0,1] with N at least 1; labels (N,) int64, from 0.

    Raises:
        ReinforcedError: they are not.
    """
    if images.ndim != 4 or len(images) == 0:
        raise ReinforcedError(f"images: shape {tuple(images.shape)}; pass (N, C, H, W) with N at least 1")
    if images.dtype != torch.float32:
        hint = "images.float() / 255" if images.dtype == torch.uint8 else "images.float()"
        raise ReinforcedError(f"images: {images.dtype}, not float32 in [0,1]; pass {hint}")
    low, high = images.min().item(), images.max().item()
    # Asked this way round, not-a-number is refused too.
    if not (low >= 0 and high <= 1):
        raise ReinforcedError(
            f"images: values from {low:g} to {high:g}, not in [0,1]; put the normalisation inside the model"
        )
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64:
        raise ReinforcedError(
            f"labels: {labels.dtype} of shape {tuple(labels.shape)}; "
            f"pass int64 class numbers of shape ({len(images)},)"
        )
    if labels.min() < 0:
        raise ReinforcedError(f"labels: found {int(labels.min())}; classes are numbered from 0")


def check_logits(logits: object, labels: Tensor) -> None:
    """Logits of clean images are (N, K) and finite, and the labels (N,) lie below K.

    Raises:
        ReinforcedError: they do not.
    """
    if not isinstance(logits, Tensor):
        raise ReinforcedError(
            f"model: returned a {type(logits).__name__}, not logits; wrap it so that it returns one tensor"
        )
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ReinforcedError(
            f"model: returned {tuple(logits.shape)} for {len(labels)} images; return logits (N, classes)"
        )
    if not logits.isfinite().all():
        raise ReinforcedError("model: logits of clean images are not finite; check the weights it has loaded")
    classes = logits.shape[1]
    if labels.max() >= classes:
        raise ReinforcedError(
            f"labels: found {int(labels.max())}, but the model has {classes} classes; "
            f"labels lie in 0..{classes - 1}"
        )
