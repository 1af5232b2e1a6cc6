"""How the cores and GPUs of one machine or several are divided among workers."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from reinforced.errors import ReinforcedError
from reinforced.studies.sweep.study import Resources


class Node(NamedTuple):
    """What a machine has."""

    cores: int
    gpus: int


@dataclass(frozen=True)
class Share:
    """How many workers there are, and what each gets.

    Attributes:
        workers: at a time.
        threads: of torch, a worker.
        gpus: share of a GPU, a worker; 0 for none.
    """

    workers: int
    threads: int
    gpus: float

    def visible(self, worker: int, gpus: Sequence[str]) -> str:
        """``CUDA_VISIBLE_DEVICES`` of a worker on a machine with these GPUs: one of them, or none."""
        return gpus[worker // _on_one(self.gpus)] if self.gpus else ""


def divide(resources: Resources, nodes: Sequence[Node], *, entries: int, workers: int | None = None) -> Share:
    """As many workers as entries, cores and GPUs allow, each on one node and one GPU at most.

    The cores are divided among the workers. Where there are more workers than GPUs, and the study does not
    say how much of one an entry gets, so are the GPUs.

    Args:
        resources: what the study asks for one entry.
        nodes: what there is.
        entries: to run.
        workers: in place of what would be chosen.

    Raises:
        ReinforcedError: an entry asks for more than there is, or there is no room for so many workers.
    """
    gpus = sum(node.gpus for node in nodes)
    share = _share(gpus, workers) if resources.gpus is None else resources.gpus
    most = max((node.cores for node in nodes), default=0)
    if share > gpus:
        raise ReinforcedError(f"resources.gpus {share:g}: there are {gpus} GPUs here; give 0 for the CPU")
    if (resources.cpus or 1) > most:
        raise ReinforcedError(f"resources.cpus {resources.cpus}: there are {most} cores here; give fewer")
    least = resources.cpus or 1
    room = _room(nodes, least, share)
    if (workers or 1) > room:
        each = f"{least} cores" + (f" and {share:g} of a GPU" if share else "")
        raise ReinforcedError(
            f"--workers {workers or 1}: there is room for {room} with {each} each; give fewer"
        )
    count = workers or min(max(1, entries), room)
    threads = resources.cpus or max(t for t in range(1, most + 1) if _room(nodes, t, share) >= count)
    return Share(count, threads, share)


def _share(gpus: int, workers: int | None) -> float:
    """Of a GPU, for each of so many workers; Ray knows ten thousandths, and less must not round up."""
    on_one = math.ceil(max(workers or 1, gpus) / gpus) if gpus else 0
    return math.floor(10_000 / on_one) / 10_000 if on_one else 0.0


def _on_one(share: float) -> int:
    """Workers that fit on one GPU."""
    return int(1 / share + 1e-9)


def _room(nodes: Sequence[Node], threads: int, share: float) -> int:
    """Workers that fit, none of them over two nodes or two GPUs."""
    return sum(
        min(node.cores // threads, node.gpus * _on_one(share) if share else node.cores) for node in nodes
    )


def own_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def own_gpus() -> list[str]:
    """The GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch  # noqa: PLC0415

    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    count = torch.cuda.device_count()
    return named.split(",")[:count] if named else [str(number) for number in range(count)]
