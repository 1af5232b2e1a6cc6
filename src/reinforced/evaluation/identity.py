"""What a record holds of the model and the images it is about: their hashes."""

from __future__ import annotations

import hashlib

from torch import Tensor, nn


def model_sha256(model: nn.Module) -> str:
    """Of a model's weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def data_sha256(images: Tensor, labels: Tensor) -> str:
    """Of images (N, C, H, W) and labels (N,)."""
    digest = hashlib.sha256(images.cpu().contiguous().numpy().tobytes())
    digest.update(labels.cpu().numpy().tobytes())
    return digest.hexdigest()
