"""Where attempts run: worker processes of this machine, or tasks of a Ray cluster."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from reinforced.studies.sweep.child import GRACE, Child
from reinforced.studies.sweep.job import Job
from reinforced.studies.sweep.shares import Share

POLL = 0.2
"""Seconds between looks at what runs."""


class Ended(NamedTuple):
    """An attempt that has ended, and what went wrong, if anything."""

    name: str
    error: str | None


class Pool(Protocol):
    """Runs attempts at entries."""

    def free(self) -> bool:
        """Whether one more attempt can be started."""

    def start(self, name: str, job: Job, log: Path) -> None:
        """Start an attempt."""

    def ended(self) -> list[Ended]:
        """What has ended since the last call; waits a moment for it."""

    def stop(self) -> None:
        """Ask all attempts to save, and wait for their end."""

    def close(self) -> None:
        """End at once what still runs."""


class LocalPool:
    """A process an entry, each with its share of cores and GPUs."""

    def __init__(self, share: Share, gpus: Sequence[str]) -> None:
        self._share, self._gpus = share, gpus
        self._running: dict[int, tuple[str, Child]] = {}

    def free(self) -> bool:
        """See :class:`Pool`."""
        return len(self._running) < self._share.workers

    def start(self, name: str, job: Job, log: Path) -> None:
        """See :class:`Pool`."""
        worker = next(number for number in range(self._share.workers) if number not in self._running)
        visible = self._share.visible(worker, self._gpus)
        self._running[worker] = name, Child(job, log, self._share.threads, visible)

    def ended(self) -> list[Ended]:
        """See :class:`Pool`."""
        time.sleep(POLL)
        over = {worker: pair for worker, pair in self._running.items() if pair[1].ended()}
        for worker, (_, child) in over.items():
            child.close()
            del self._running[worker]
        return [Ended(name, child.error()) for name, child in over.values()]

    def stop(self) -> None:
        """See :class:`Pool`."""
        for _, child in self._running.values():
            child.ask_to_stop()
        deadline = time.monotonic() + GRACE
        for _, child in self._running.values():
            child.close(max(0.0, deadline - time.monotonic()))
        self._running.clear()

    def close(self) -> None:
        """See :class:`Pool`."""
        for _, child in self._running.values():
            child.close()
        self._running.clear()


class RayPool:
    """A task an entry; Ray finds it a node. The folder of the sweep must be the same on all of them."""

    def __init__(self, ray: Any, share: Share) -> None:
        """Use a cluster that this process is connected to (:func:`reinforced.studies.cluster.connected`)."""
        self._ray, self._share = ray, share
        # Ray's own retries would start an attempt that nobody has counted.
        options = {"num_cpus": share.threads, "num_gpus": share.gpus, "max_retries": 0}
        self._task = ray.remote(**options)(attempt)
        self._running: dict[Any, str] = {}

    def free(self) -> bool:
        """See :class:`Pool`: as many as there is room for, so that none waits in Ray's queue."""
        return len(self._running) < self._share.workers

    def start(self, name: str, job: Job, log: Path) -> None:
        """See :class:`Pool`."""
        text = job.model_dump_json(by_alias=True)
        visible = None if self._share.gpus else ""  # Ray chooses the GPU
        self._running[self._task.remote(text, str(log), self._share.threads, visible)] = name

    def ended(self) -> list[Ended]:
        """See :class:`Pool`."""
        over, _ = self._ray.wait(list(self._running), num_returns=1, timeout=POLL)
        return [Ended(self._running.pop(task), self._error(task)) for task in over]

    def stop(self) -> None:
        """See :class:`Pool`."""
        for task in self._running:
            self._ray.cancel(task)
        if self._running:
            self._ray.wait(list(self._running), num_returns=len(self._running), timeout=GRACE + 5)
        self._running.clear()

    def close(self) -> None:
        """See :class:`Pool`: the tasks end with the connection."""
        self._running.clear()

    def _error(self, task: Any) -> str | None:
        try:
            error: str | None = self._ray.get(task)
        except self._ray.exceptions.RayError as lost:
            return f"the worker was lost: {type(lost).__name__}"
        return error


def attempt(text: str, log: str, threads: int, gpus: str | None) -> str | None:
    """One attempt within a Ray task: what went wrong, or nothing."""
    child = Child(Job.model_validate_json(text), Path(log), threads, gpus)
    try:
        while not child.ended():
            time.sleep(POLL)
    except BaseException:  # cancelled
        child.ask_to_stop()
        child.close(GRACE)
        raise
    child.close()
    return child.error()
