"""How a machine's cores and GPUs are divided among the workers of a sweep."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from reinforced.errors import ReinforcedError
from reinforced.studies.sweep.study import Resources


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each gets.

    Attributes:
        workers: entries at a time.
        threads: of torch, a worker.
        gpus: share of a GPU, a worker; 0 for none.
    """

    workers: int
    threads: int
    gpus: float

    def visible(self, worker: int, gpus: Sequence[str]) -> str:
        """``CUDA_VISIBLE_DEVICES`` of a worker on a machine with these GPUs: one of them, or none."""
        return gpus[int(worker * self.gpus + 1e-9) % len(gpus)] if self.gpus else ""


def divide(
    resources: Resources, *, entries: int, cores: int, gpus: int, workers: int | None = None, largest: int = 0
) -> Share:
    """As many workers as entries, cores and GPUs allow; the cores are divided among them.

    Args:
        resources: what the study asks for one entry.
        entries: to run.
        cores: in all.
        gpus: in all.
        workers: in place of what would be chosen.
        largest: cores of a cluster's largest node, which no worker can have more of.

    Raises:
        ReinforcedError: an entry asks for more than there is.
    """
    share = (1.0 if gpus else 0.0) if resources.gpus is None else resources.gpus
    most = largest or cores
    if share > gpus:
        raise ReinforcedError(f"resources.gpus {share:g}: there are {gpus} GPUs here; give 0 for the CPU")
    if (resources.cpus or 1) > most:
        raise ReinforcedError(f"resources.cpus {resources.cpus}: there are {most} cores here; give fewer")
    limit = min(max(1, entries), cores // (resources.cpus or 1))
    if share:
        limit = min(limit, int(gpus / share + 1e-9))
    count = workers or limit
    return Share(count, resources.cpus or max(1, min(cores // count, most)), share)


def own_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch  # noqa: PLC0415

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]
