"""All that a run needs to go on exactly: weights, optimiser, average, random streams, place, sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from reinforced.errors import ReinforcedError
from reinforced.streams import Stream
from reinforced.training.adversaries import Passes
from reinforced.training.checkpoint import load_checkpoint, save_checkpoint


@dataclass
class Place:
    """Where a run is: the counters that are not tensors.

    ``data_sha256`` and ``precision`` are those the run began with and keeps; ``epoch`` counts finished
    epochs of the run, ``batch`` finished batches of the one under way. ``step_flops`` are those of one step
    of each phase; ``best_accuracy`` and ``best_probe`` the highest so far of what chooses the best weights,
    and of accuracy under PGD on training images.
    """

    data_sha256: str
    precision: str
    epoch: int = 0
    batch: int = 0
    forward_passes: float = 0.0
    backward_passes: float = 0.0
    crafting_passes: float = 0.0
    regulariser_passes: float = 0.0
    flops: float = 0.0
    step_flops: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best_accuracy: float = -1.0
    best_epoch: int = 0
    best_probe: float = 0.0
    rollbacks: int = 0
    stopped: bool = False

    def spend(self, passes: Passes, flops: float) -> None:
        """Add a step's cost: passes times images, and floating-point operations."""
        self.forward_passes += passes.forward
        self.backward_passes += passes.backward
        self.crafting_passes += passes.crafting
        self.regulariser_passes += passes.regulariser
        self.flops += flops

    @property
    def spent(self) -> dict[str, float]:
        """The run's compute so far, by the names it is logged under; ``passes`` is the sum."""
        parts = {
            "forward_passes": self.forward_passes,
            "backward_passes": self.backward_passes,
            "crafting_passes": self.crafting_passes,
            "regulariser_passes": self.regulariser_passes,
        }
        return {"passes": sum(parts.values()), **parts, "flops": self.flops}


@dataclass
class State:
    """The live objects of a run, saved and restored together."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: AveragedModel | None
    streams: dict[str, Stream]
    place: Place
    order: Tensor | None = None
    sums: dict[str, Tensor] = field(default_factory=dict)
    memory: dict[str, Tensor] = field(default_factory=dict)

    def own(self) -> dict[str, Tensor]:
        """What each process has of its own: buffers (batch norm's averages) and torch's random streams."""
        tensors = {f"network.{name}": value for name, value in self.network.named_buffers()}
        tensors["global.cpu"] = torch.get_rng_state()
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            tensors["global.cuda"] = torch.cuda.get_rng_state()
        return tensors

    def save(self, path: Path, others: Mapping[str, Tensor] | None = None) -> None:
        """Write everything atomically to one file.

        Args:
            others: what :meth:`own` gives in the other processes, ``1.`` and so on before its names.
        """
        tensors = self._weights()
        tensors |= {f"stream.{name}": stream.get_state() for name, stream in self.streams.items()}
        tensors |= {f"sums.{name}": value for name, value in self.sums.items()}
        tensors |= self.own()
        tensors |= {f"process.{name}": value for name, value in (others or {}).items()}
        if self.order is not None:
            tensors["order"] = self.order
        save_checkpoint(path, tensors, {"place": asdict(self.place)})

    def _weights(self) -> dict[str, Tensor]:
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        tensors |= {f"memory.{name}": value for name, value in self.memory.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        return tensors

    def save_weights(self, path: Path) -> None:
        """Write what training has learned, without its place and random streams, atomically to one file."""
        save_checkpoint(path, self._weights(), {})

    def load_weights(self, path: Path) -> None:
        """Put back what :meth:`save_weights` wrote.

        Raises:
            ReinforcedError: the file is missing, corrupt, or of another network.
        """
        self._put_back(load_checkpoint(path)[0], path)

    def _put_back(self, tensors: dict[str, Tensor], path: Path) -> None:
        try:
            self.network.load_state_dict(_part(tensors, "network."))
            if self.average is not None:
                self.average.load_state_dict(_part(tensors, "average."))
        except RuntimeError:
            raise ReinforcedError(
                f"{path} holds another network's state; give this run its own --run DIR"
            ) from None
        device = next(self.network.parameters()).device
        self.memory.clear()
        self.memory |= {name: value.to(device) for name, value in _part(tensors, "memory.").items()}
        self._load_optimizer(_part(tensors, "optimizer."))

    def load(self, path: Path, process: int = 0) -> None:
        """Put everything back as :meth:`save` found it, memory layout included.

        A process that was not there when it was saved keeps the random streams that it began with.

        Raises:
            ReinforcedError: the file is corrupt, of another network, or of another kind of device.
        """
        tensors, values = load_checkpoint(path)
        if any(
            stream.get_state().shape != tensors[f"stream.{name}"].shape
            for name, stream in self.streams.items()
        ):
            raise ReinforcedError(
                f"{path} was written on another kind of device, whose random streams it holds; go on with "
                "the same --device, or give a new run its own --run DIR"
            )
        self._put_back(tensors, path)
        for name, stream in self.streams.items():
            stream.set_state(tensors[f"stream.{name}"])
        own = _part(tensors, f"process.{process}.") if process else tensors
        if "global.cpu" in own:
            torch.set_rng_state(own["global.cpu"])
        if "global.cuda" in own:
            torch.cuda.set_rng_state(own["global.cuda"])
        if process:
            buffers = dict(self.network.named_buffers())
            for name, value in _part(own, "network.").items():
                buffers[name].copy_(value)
        device = next(self.network.parameters()).device
        self.sums = {name: value.to(device) for name, value in _part(tensors, "sums.").items()}
        self.order = tensors.get("order")
        self.place = Place(**values["place"])

    def _load_optimizer(self, tensors: dict[str, Tensor]) -> None:
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        slots: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            index, name = key.split(".", 1)
            weight = weights[int(index)]
            # A moment must have its weight's layout: the fused kernels walk both in memory order.
            like = torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
            slots.setdefault(int(index), {})[name] = like
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
