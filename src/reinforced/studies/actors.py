"""Actors of a Ray cluster that any of them can replace: what a dead one was doing is done by another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from reinforced.errors import ReinforcedError
from reinforced.studies.cluster import nodes_of
from reinforced.studies.sweep.shares import Share, divide
from reinforced.studies.sweep.study import Resources

TRIES = 3
"""Workers that a chunk may cost before it is given up."""
PATIENCE = 600.0
"""Seconds for all workers to begin, loading models and images included."""


class Actors:
    """Actors of one kind that are ready, and do what any of them can do."""

    def __init__(self, ray: Any, kind: type, share: Share, *arguments: Any) -> None:
        """Start them on a connected cluster with these arguments, and wait until they have begun.

        Raises:
            ReinforcedError: one cannot be started, or has not begun within :data:`PATIENCE`.
        """
        self._ray = ray
        actor = ray.remote(num_cpus=share.threads, num_gpus=share.gpus)(kind)
        self._new = partial(actor.remote, *arguments)
        self._actors = [self._new() for _ in range(share.workers)]
        begun = [actor.process.remote() for actor in self._actors]
        _, missing = ray.wait(begun, num_returns=len(begun), timeout=PATIENCE)
        if missing:
            raise ReinforcedError(
                f"{len(missing)} of {share.workers} workers have not begun in {PATIENCE / 60:.0f} minutes: "
                f"each needs {share.threads} cores"
                + (f" and {share.gpus:g} of a GPU" if share.gpus else "")
                + f", free on the cluster are {_free(ray)}; give fewer --workers, or wait for it"
            )
        try:
            self.processes: list[int] = ray.get(begun)
        except ray.exceptions.RayError as failed:
            raise ReinforcedError(f"a worker could not be started: {_said(failed)}") from None

    def each(self, method: str, calls: Sequence[tuple[Any, ...]]) -> Iterator[tuple[int, Any]]:
        """What every call of ``method`` gives, with its number, as they end; a dead actor's is done again.

        Raises:
            ReinforcedError: what a call has to say, or one that has cost :data:`TRIES` workers.
        """
        waiting = deque((number, 1) for number in range(len(calls)))
        idle = list(self._actors)
        running: dict[Any, tuple[Any, int, int]] = {}
        while waiting or running:
            while waiting and idle:
                actor, (number, tries) = idle.pop(), waiting.popleft()
                running[getattr(actor, method).remote(*calls[number])] = actor, number, tries
            (done, *_), _ = self._ray.wait(list(running), num_returns=1)
            actor, number, tries = running.pop(done)
            try:
                found = self._ray.get(done)
            except self._ray.exceptions.RayActorError as lost:
                if tries == TRIES:
                    raise ReinforcedError(
                        f"chunk {number + 1} has cost {tries} workers, the last one said: {_said(lost)}"
                    ) from None
                waiting.appendleft((number, tries + 1))
                idle.append(self._replace(actor))
            except self._ray.exceptions.RayTaskError as failed:
                if isinstance(failed.cause, ReinforcedError):
                    raise ReinforcedError(str(failed.cause)) from None
                raise
            else:
                idle.append(actor)
                yield number, found

    def _replace(self, actor: Any) -> Any:
        self._actors.remove(actor)
        self._actors.append(self._new())
        return self._actors[-1]


def share_of(ray: Any, workers: int | None, device: str) -> Share:
    """How the cluster's cores and GPUs are divided among the workers of an evaluation.

    Raises:
        ReinforcedError: more workers than there are cores.
    """
    nodes = nodes_of(ray, device)
    cores = sum(node.cores for node in nodes)
    share = divide(Resources(), nodes, entries=cores, workers=workers)
    # Another number of threads than this process has could change the last bits of a sum.
    return replace(share, threads=min(share.threads, torch.get_num_threads()))


def _free(ray: Any) -> str:
    found = ray.available_resources()
    return f"{found.get('CPU', 0):g} cores and {found.get('GPU', 0):g} GPUs"


def _said(failed: Exception) -> str:
    lines = [line.strip() for line in str(failed).splitlines() if line.strip()]
    return lines[-1] if lines else type(failed).__name__
