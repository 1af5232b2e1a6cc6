"""Evaluation over the actors of a Ray cluster: each takes chunk after chunk and leaves them on disk.

Whoever then evaluates in one process finds every chunk done and merges them: a chunk's outcome depends on
attack, chunk and seed alone, so the matrix is the one that a single process would have found. Folders must be
the same on all nodes.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.base import CHUNK, Attack, AttackResult, Batch, chunk_size, merged, run_attack
from reinforced.attacks.seal import device_of
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.case import Runner
from reinforced.errors import ReinforcedError
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.job import Told
from reinforced.evaluation.suites import choose_attacks
from reinforced.studies.actors import Actors, share_of
from reinforced.studies.cluster import connected, enter
from reinforced.studies.evaluations import Plan, evaluate_subject
from reinforced.studies.subjects import Source, load_lent, load_subject
from reinforced.studies.sweep.shares import Share, own_cores
from reinforced.training.device import resolve_device

Shard = tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """What ``reinforced evaluate`` was asked for, by name, so that every worker loads it by itself.

    Attributes:
        models, surrogates: run directories, or networks by name.
        control: an undefended one.
        source: where their weights and images are.
        attacks: suites or attacks with options.
        seed: of every draw.
        run_all: every attack on every image.
        chunk: images a chunk, or what suits the workers' devices.
        out: folder for networks by name.
        device: ``auto`` takes the GPU that Ray gives.
        cwd: that relative paths start from.
    """

    models: tuple[str, ...]
    surrogates: tuple[str, ...]
    control: str | None
    source: Source
    attacks: tuple[str, ...]
    seed: int
    run_all: bool
    chunk: int | None
    out: Path
    device: str
    cwd: Path


class Worker:
    """An actor: models and images loaded once, then chunk after chunk."""

    def __init__(self, asked: Asked, threads: int) -> None:
        enter(asked.cwd)
        torch.set_num_threads(threads)
        device = resolve_device(asked.device)

        def lend(name: str) -> nn.Module:
            return load_lent(name, asked.source, device, asked.out)

        self._subjects = {name: load_subject(name, asked.source, device, asked.out) for name in asked.models}
        self._control = lend(asked.control) if asked.control else None
        lent = {name: lend(name) for name in asked.surrogates}
        self._plan = Plan(asked.attacks, lent, None, asked.seed, asked.run_all, (1, 1), asked.chunk)

    def process(self) -> int:
        """The worker's process id, once everything is loaded."""
        return os.getpid()

    def work(self, model: str, threat: ThreatModel, shard: Shard) -> list[tuple[str, int, int]]:
        """Do one shard of a model's evaluation, and of its control's; gives what would have been told."""
        told: list[tuple[str, int, int]] = []
        subject = self._subjects[model]
        plan = replace(self._plan, shard=shard)
        folder, _ = evaluate_subject(subject, threat, plan, lambda *said: told.append(said))
        if self._control is not None:
            sealed = choose_attacks(plan.attacks, threat).sealed
            evaluate(
                self._control,
                subject.images,
                subject.labels,
                threat,
                attacks=[attack.name for attack in sealed],
                seed=plan.seed,
                chunk=plan.chunk,
                out=folder / "control",
                shard=shard,
            )
        return told


class Attacker:
    """An actor that runs attacks on whatever models it is sent, on its own device."""

    def __init__(self, threads: int, device: str) -> None:
        torch.set_num_threads(threads)
        self._device = resolve_device(device)

    def process(self) -> int:
        """The worker's process id."""
        return os.getpid()

    def attack(
        self, attack: Attack, model: nn.Module, part: Batch, threat: ThreatModel, options: dict[str, Any]
    ) -> AttackResult:
        """One chunk of a run."""
        return run_attack(attack, model.to(self._device), part.images, part.labels, threat, **options)


class Workers(Actors):
    """Workers of an evaluation."""

    def __init__(self, ray: Any, asked: Asked, share: Share) -> None:
        """Start them, and wait until each has loaded its models."""
        super().__init__(ray, Worker, share, asked, share.threads)
        self._chunk = asked.chunk

    def work(self, model: str, threat: ThreatModel, images: int, told: Told) -> None:
        """Do all chunks of an evaluation, see :meth:`Actors.each`."""
        # Where chunks turn out larger, some shares are empty.
        count = math.ceil(images / (self._chunk or CHUNK))
        for _, heard in self.each("work", [(model, threat, (number + 1, count)) for number in range(count)]):
            for said in heard:
                told(*said)


class Attackers(Actors):
    """:func:`~reinforced.attacks.base.run_attack` with its chunks shared out: the same result."""

    def __init__(self, ray: Any, share: Share, device: str) -> None:
        """Start them, each on the GPU that Ray gives it, or on a device by name."""
        super().__init__(ray, Attacker, share, share.threads, device)

    def run(
        self,
        attack: Attack,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        seed: int,
        draws: int = 1,
    ) -> AttackResult:
        """See :func:`~reinforced.attacks.base.run_attack`; ``seconds`` are those of all workers together."""
        # From this process's GPU it could only be unpacked where there is one too.
        sent = self._ray.put(model if device_of(model).type == "cpu" else copy.deepcopy(model).cpu())
        calls = []
        size = chunk_size(None, images, device_of(model))
        for number in range(math.ceil(len(images) / size)):
            rows = slice(number * size, (number + 1) * size)
            options = {"seed": seed, "draws": draws, "chunk": size, "first_chunk": number}
            calls.append((attack, sent, Batch(images[rows], labels[rows]), threat, options))
        found = [result for _, result in sorted(self.each("attack", calls), key=itemgetter(0))]
        tensors = ("clean_correct", "robust", "images", "distances", "attacked", "unprojected")
        counts = ("forwards", "gradients", "elsewhere", "predictions", "seconds")
        whole: dict[str, Any] = {name: torch.cat([getattr(one, name) for one in found]) for name in tensors}
        whole |= {name: sum(getattr(one, name) for one in found) for name in counts}
        return AttackResult(**whole, flags=merged([flag for one in found for flag in one.flags]))


@contextmanager
def sharing(
    address: str | None, workers: int | None, asked: Asked
) -> Iterator[Callable[[str, ThreatModel, int, Told], None]]:
    """What does the chunks of a model under a threat beforehand: a cluster's workers, or nobody without one.

    Raises:
        ReinforcedError: no cluster at the address, or too small a one.
    """
    if address is None:
        yield lambda model, threat, images, told: None  # noqa: ARG005
        return
    with connected(address, max(workers or 0, own_cores())) as ray:
        yield Workers(ray, asked, share_of(ray, workers, asked.device)).work


@contextmanager
def sharing_attacks(address: str | None, workers: int | None, device: str) -> Iterator[Runner]:
    """What runs attacks: a cluster's workers, or this process without one.

    Raises:
        ReinforcedError: no cluster at the address, or too small a one.
    """
    if address is None:
        if workers is not None:
            raise ReinforcedError("--workers goes with --ray ADDRESS")
        yield run_attack
        return
    with connected(address, max(workers or 0, own_cores())) as ray:
        yield Attackers(ray, share_of(ray, workers, device), device).run
