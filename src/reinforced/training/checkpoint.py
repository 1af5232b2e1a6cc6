"""Checkpoints: tensors and plain values in one safetensors file, written whole and checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from reinforced.errors import ReinforcedError
from reinforced.files import atomic


def save_checkpoint(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors and JSON-able values atomically, with a digest of both."""
    # Clones, for safetensors refuses tensors that share memory, as tied weights do.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in sorted(tensors.items())
    }
    text = json.dumps(values)
    metadata = {"sha256": _digest(plain, text), "values": text}
    with atomic(path) as temporary:
        try:
            save_file(plain, temporary, metadata=metadata)
        except SafetensorError as error:
            # safetensors wraps the operating system's error; give `atomic` the original back.
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save_checkpoint` wrote, onto the CPU.

    Raises:
        ReinforcedError: there is no such file, it is truncated, or its bytes have changed.
    """
    if not path.is_file():
        raise ReinforcedError(f"no checkpoint {path}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as error:
        raise ReinforcedError(
            f"{path}: corrupt or truncated checkpoint ({str(error).splitlines()[0]}); restore it, "
            "or delete the run directory to start over"
        ) from None
    text = metadata.get("values", "")
    if metadata.get("sha256") != _digest(tensors, text):
        raise ReinforcedError(
            f"{path}: corrupt checkpoint (its bytes changed since they were written); restore it, or delete "
            "the run directory to start over"
        )
    return tensors, json.loads(text)


def weights_hash(path: Path) -> str:
    """sha256 of a checkpoint's tensors: equal for bit-identical weights."""
    return _digest(load_checkpoint(path)[0])


def _digest(tensors: dict[str, Tensor], text: str = "") -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
