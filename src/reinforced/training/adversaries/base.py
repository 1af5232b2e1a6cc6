"""The protocol of an adversary: which images a training step sees, and how their losses add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from reinforced.component import Component
from reinforced.objectives import LossTerms, Objective
from reinforced.streams import Stream

Mode = Literal["train", "eval"]
Terms = Callable[[int, Tensor], LossTerms]
"""The objective's loss on the view of this position, given its logits (B, K)."""


@dataclass(frozen=True)
class Passes:
    """Network passes an image: a forward counts 1, an input gradient 1, a full backward 2.

    ``crafting`` holds all that finding perturbations costs, ``regulariser`` what penalties add.
    """

    forward: float = 0.0
    backward: float = 0.0
    crafting: float = 0.0
    regulariser: float = 0.0

    def __add__(self, other: Passes) -> Passes:
        return Passes(
            self.forward + other.forward,
            self.backward + other.backward,
            self.crafting + other.crafting,
            self.regulariser + other.regulariser,
        )

    def __mul__(self, times: float) -> Passes:
        return Passes(
            self.forward * times, self.backward * times, self.crafting * times, self.regulariser * times
        )

    @property
    def total(self) -> float:
        """All of them."""
        return self.forward + self.backward + self.crafting + self.regulariser


@dataclass(frozen=True)
class Trainee:
    """The network under training, as an adversary may use it.

    Attributes:
        model: as accelerate prepared it; the passes that are trained on go through it.
        network: the bare network; crafting goes through it.
        precision: ``float32`` or ``bf16``, of every pass.
        share: whether a view may carry the logits of a trained forward pass that crafting has used too.
    """

    model: nn.Module
    network: nn.Module
    precision: str = "float32"
    share: bool = True

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) to train on, of images (B, C, H, W) in [0,1]."""
        with self.autocast(images.device):
            logits: Tensor = self.model(images)
        return logits

    def autocast(self, device: torch.device) -> torch.autocast:
        """The precision of a pass."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16")

    @contextmanager
    def crafting(self, mode: Mode) -> Iterator[Callable[[Tensor], Tensor]]:
        """The network as a function to craft on, which leaves it and the global random stream as they were.

        ``train``: batch statistics and dropout as in training, but batch norm's running averages stay;
        ``eval``: running averages, no dropout.
        """
        network = self.network
        modules = list(network.modules())
        switched = [module for module in modules if mode == "eval" and module.training]
        # In train mode without tracking, batch norm normalises by the batch and keeps no record of it.
        still = [
            m for m in modules if mode == "train" and isinstance(m, _BatchNorm) and m.track_running_stats
        ]
        # Whatever else a layer keeps of what it sees (instance norm, spectral norm) is put back.
        others = [m for m in modules if m not in still] if mode == "train" else []
        kept = [(value, value._version, value.clone()) for m in others for value in m.buffers(recurse=False)]
        device = next(network.parameters()).device

        def forward(images: Tensor) -> Tensor:
            with self.autocast(images.device):
                logits: Tensor = network(images)
            return logits

        try:
            for module in switched:
                module.training = False
            for norm in still:
                norm.track_running_stats = False
            with torch.random.fork_rng([device] if device.type == "cuda" else []):
                yield forward
        finally:
            for module in switched:
                module.training = True
            for norm in still:
                norm.track_running_stats = True
            with torch.no_grad():
                for value, version, before in kept:
                    if value._version != version:  # else leave it to the graphs that may hold it
                        value.copy_(before)


@dataclass(frozen=True)
class View:
    """Images (B, C, H, W) in [0,1] to train on.

    Attributes:
        images: what the network is shown.
        name: ``clean`` or ``crafted``, for the metrics.
        logits: of a trained forward pass already made, else ``None``.
    """

    images: Tensor
    name: Literal["clean", "crafted"]
    logits: Tensor | None = None


class Adversary(Protocol):
    """Turns clean training images into the ones a step trains on."""

    @property
    def kind(self) -> str:
        """The name a recipe selects it by."""

    @property
    def replays(self) -> int:
        """Updates on the same batch, each on views of its own."""

    def passes(self, *, share: bool = True) -> Passes:
        """What one replay with one update costs."""

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        stream: Stream,
        memory: dict[str, Tensor],
    ) -> tuple[View, ...]:
        """What to train on for clean images (B, C, H, W) in [0,1] and labels (B,).

        Weights, their gradients, dropout's stream and ``images`` are left alone. ``memory`` lives as long
        as the run and is saved with it. The first view is the one that regularisers see.
        """

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:
        """The step's loss, given each view's logits (B, K)."""

    def around(self, trainee: Trainee, ascend: Callable[[], Tensor]) -> AbstractContextManager[None]:
        """What surrounds the trained passes of an update; ``ascend`` computes their loss on frozen draws."""

    def learn(self, views: tuple[View, ...], memory: dict[str, Tensor]) -> None:
        """Called after each backward pass, when leaf images hold their gradient."""

    def refuses(self, objective: Objective) -> str:
        """Why this adversary cannot be had with ``objective``; empty where it can."""


class AdversarySettings(Component):
    """What most adversaries do: one replay, the objective's loss on the first view, nothing around it."""

    @property
    def replays(self) -> int:
        """One."""
        return 1

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:  # noqa: ARG002
        """The objective's loss on the first view."""
        return terms(0, logits[0])

    def around(
        self,
        trainee: Trainee,  # noqa: ARG002
        ascend: Callable[[], Tensor],  # noqa: ARG002
    ) -> AbstractContextManager[None]:
        """Nothing."""
        return nullcontext()

    def learn(self, views: tuple[View, ...], memory: dict[str, Tensor]) -> None:
        """Nothing."""

    def refuses(self, objective: Objective) -> str:  # noqa: ARG002
        """Goes with every objective."""
        return ""
