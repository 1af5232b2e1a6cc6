"""What a folder of results is about: hashes of model and images, and a setup that may not change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from reinforced.errors import ReinforcedError
from reinforced.files import write_json


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


def claim_folder(folder: Path, setup: Mapping[str, Any], what: str) -> None:
    """Write what decides the results of ``folder`` to its ``setup.json``, or check that it is the same.

    Args:
        folder: where results go.
        setup: JSON-able values.
        what: in messages: ``evaluation``, ``diagnosis``.

    Raises:
        ReinforcedError: the folder holds another one, or its ``setup.json`` is damaged.
    """
    file = folder / "setup.json"
    if not file.is_file():
        write_json(file, dict(setup))
        return
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ReinforcedError(
            f"{file}: damaged (not JSON); delete the folder and start the {what} again"
        ) from None
    differing = [key for key in setup if there.get(key) != setup[key]]
    if differing:
        raise ReinforcedError(
            f"{folder} holds another {what} ({differing[0]} differs); choose another folder"
        )
