"""Where and how precisely a run computes."""

from __future__ import annotations

import os

import torch

from reinforced.errors import ReinforcedError


def resolve_device(name: str = "auto") -> torch.device:
    """``auto`` (a GPU if there is one), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Under ``torchrun`` each process takes the GPU of its local rank.

    Raises:
        ReinforcedError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ReinforcedError(f"no such device {name!r}; known: auto, cpu, cuda, cuda:N, mps") from None
    if device.type == "cuda":
        count = torch.cuda.device_count()
        index = device.index if device.index is not None else int(os.environ.get("LOCAL_RANK", "0"))
        if index >= count:
            has = f"this machine has {count}" if count else "torch sees no GPU here"
            raise ReinforcedError(f"no such device cuda:{index}: {has}; use --device cpu")
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    elif device.type == "mps" and not torch.backends.mps.is_available():
        raise ReinforcedError("no such device mps: this machine has none; use --device cpu")
    elif device.type not in ("cpu", "mps"):
        raise ReinforcedError(f"no such device {name!r}; known: auto, cpu, cuda, cuda:N, mps")
    return device


def resolve_precision(wanted: str, device: torch.device) -> str:
    """``float32`` or ``bf16``: ``auto`` takes bf16 only where the hardware multiplies it fast."""
    if wanted != "auto":
        return wanted
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float32"
    # Measured with benchmarks/training_step.py: on one Zen 4 core AVX-512's bf16 dot products alone give
    # 1.8 (cnn6) and 1.7 to 1.9 times (alicnn) float32's rate.
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16" if device.type == "cpu" and fast else "float32"
