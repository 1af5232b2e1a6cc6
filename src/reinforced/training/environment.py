"""What a run ran on: versions, hardware, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

RECORDED = ("torch", "torchvision", "timm", "accelerate", "numpy", "pydantic", "safetensors", "scikit-learn")


def environment(device: torch.device, precision: str, data_sha256: str) -> dict[str, Any]:
    """A JSON-able record of versions, hardware, precision, source commit and the data's hash."""
    return {
        "reinforced": metadata.version("reinforced"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in RECORDED},
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "precision": precision,
        "data_sha256": data_sha256,
    }


def processor_name() -> str:
    """The processor as the system names it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _commit() -> str | None:
    """The commit of the source tree this package runs from, if it runs from one."""
    source = Path(__file__).parent
    command = ["git", "-C", str(source), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
