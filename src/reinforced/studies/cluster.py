"""A connection to a Ray cluster: quiet, without usage statistics and without a dashboard."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple, NoReturn

from reinforced.errors import ReinforcedError

LOCAL = "local"
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray would start its workers at 15, so that anything else on the machine starves them.
    "RAY_worker_niceness": "0",
}


class Capacity(NamedTuple):
    """What a cluster has: cores and GPUs in all, and the cores of its largest node."""

    cores: int
    gpus: int
    largest: int


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


def capacity(ray: Any) -> Capacity:
    """Of the connected cluster."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = [int(node.get("CPU", 0)) for node in nodes]
    return Capacity(sum(cores), sum(int(node.get("GPU", 0)) for node in nodes), max(cores, default=0))
