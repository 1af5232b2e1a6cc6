"""A connection to a Ray cluster: quiet, without usage statistics and without a dashboard."""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from reinforced.errors import ReinforcedError
from reinforced.studies.sweep.shares import Node

if TYPE_CHECKING:
    import torch

LOCAL = "local"
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray would start its workers at 15, so that anything else on the machine starves them.
    "RAY_worker_niceness": "0",
}


@contextmanager
def connected(address: str, cores: int) -> Iterator[Any]:
    """The ``ray`` module, connected while inside.

    Args:
        address: of a cluster (``HOST:PORT``, ``auto``, ``ray://...``), or ``local`` to start one that ends
            with the connection.
        cores: of a cluster that is started.

    Raises:
        ReinforcedError: Ray is not installed, or no cluster answers.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray  # noqa: PLC0415 - an extra
    except ImportError:
        raise ReinforcedError("--ray needs Ray; install it: pip install 'reinforced[ray]'") from None
    options: dict[str, Any] = {"num_cpus": cores, "include_dashboard": False} if address == LOCAL else {}
    earlier = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReinforcedError(
            f"--ray {address}: no cluster there ({said}); `--ray local` starts one"
        ) from None
    main = threading.current_thread() is threading.main_thread()
    # Ray's own handler prints a stack of addresses and leaves the cluster to die by itself.
    if main:
        signal.signal(signal.SIGTERM, _leave)
    try:
        yield ray
    finally:
        ray.shutdown()
        if main:
            signal.signal(signal.SIGTERM, earlier)


def _leave(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    sys.exit(128 + number)


def nodes_of(ray: Any, device: str) -> list[Node]:
    """What the nodes of the connected cluster have for a device; the CPU needs no GPU."""
    alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [
        Node(int(node.get("CPU", 0)), 0 if device == "cpu" else int(node.get("GPU", 0))) for node in alive
    ]


def starters_device(name: str, address: str | None) -> torch.device:
    """Where the process that was started computes: one that joins a cluster need not have its GPUs.

    Raises:
        ReinforcedError: there is no such device here, and no cluster either.
    """
    from reinforced.training.device import resolve_device  # noqa: PLC0415 - imports torch

    return resolve_device("auto" if address is not None and name.startswith("cuda") else name)


def enter(folder: Path) -> None:
    """Work in the folder that the command was started in, for relative paths start there.

    Raises:
        ReinforcedError: this node has no such folder.
    """
    try:
        os.chdir(folder)
    except OSError as error:
        raise ReinforcedError(
            f"node {platform.node()} cannot enter {folder} ({error.strerror}); start the command in a folder "
            "that all nodes have"
        ) from None
