"""How a CPU process keeps the memory that one batch frees for the next."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let this process reuse freed memory instead of handing large blocks back; glibc only, else nothing.

    glibc maps every block above 32 MiB afresh and unmaps it when freed, and gives back what is free at the
    top of smaller ones, so each activation of each batch pays for page faults: a quarter of the time of an
    alicnn training step at batch 256 (benchmarks/training_step.py), a fifth of an attack on cnn6
    (benchmarks/freed_memory.py). No result changes. The process then keeps the most memory it ever needed
    until it ends.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
