"""Differentiable stand-ins of a model: lost gradients bridged by the identity, or averaged over neighbours.

A forward pass is a row of points: every module's input and output, as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.pgd import random_start
from reinforced.attacks.threat import ThreatModel
from reinforced.streams import Stream

Place = tuple[str, str, int]
"""A point: module's name, ``in`` or ``out``, and which of its calls."""


@dataclass(frozen=True)
class Bridge:
    """The identity as backward pass from the points ``sources`` to the point ``to``.

    ``lost``: no gradient came through at all.
    """

    sources: tuple[Place, ...]
    to: Place
    lost: bool

    @property
    def name(self) -> str:
        """For people: the module at whose output, or in front of which, it ends."""
        module, side, _ = self.to
        named = f"module {module!r}" if module else "the model's own code"
        return named if side == "out" else f"the code before {named}"


class _Identity(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, after: Tensor, *before: Tensor) -> Tensor:
        ctx.count = len(before)
        return after.detach().clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return None, *(gradient / ctx.count for _ in range(ctx.count))


@dataclass
class Walk:
    """One forward pass: its points in order, and the bridges laid in it."""

    bridges: Sequence[Bridge] = ()
    points: dict[Place, Tensor] = field(default_factory=dict)
    values: dict[Place, Tensor] = field(default_factory=dict)
    leaves: set[str] = field(default_factory=set)
    owners: dict[Place, list[Place]] = field(default_factory=dict)
    record: bool = True
    _stack: list[tuple[str, list[Place]]] = field(default_factory=list)

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Hooks on every module, for the time of a forward pass."""
        handles = []
        for name, module in model.named_modules():
            if not any(True for _ in module.children()):
                self.leaves.add(name)
            handles.append(module.register_forward_pre_hook(self._entering(name)))
            handles.append(module.register_forward_hook(self._leaving(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, name: str) -> Callable[[nn.Module, tuple[Any, ...]], Any]:
        def hook(_module: nn.Module, given: tuple[Any, ...]) -> Any:
            self._stack.append((name, []))
            if not given or not isinstance(given[0], Tensor):
                return None
            return (self._meet(name, "in", given[0]), *given[1:])

        return hook

    def _leaving(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _given: Any, output: Any) -> Any:
            _, inside = self._stack.pop()
            if not isinstance(output, Tensor):
                return None
            made = self._meet(name, "out", output)
            place = next(reversed(self.points))
            self.owners[place] = inside
            if self._stack:
                self._stack[-1][1].append(place)
            return made

        return hook

    def _meet(self, name: str, side: str, value: Tensor) -> Tensor:
        call = 0
        while (name, side, call) in self.points:
            call += 1
        place = (name, side, call)
        for bridge in self.bridges:
            if bridge.to == place:
                value = _Identity.apply(value, *(self.points[p] for p in bridge.sources))
        self.points[place] = value
        if self.record:
            # A copy, for a part may write into its input.
            self.values[place] = value.detach().clone()
        return value


class Bridged(nn.Module):
    """The model with bridges: the same logits to the last bit, other gradients. The model is not touched."""

    def __init__(self, model: nn.Module, bridges: Sequence[Bridge]) -> None:
        super().__init__()
        self.model, self.bridges = model, tuple(bridges)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K)."""
        now = Walk(self.bridges, record=False)
        with now.watching(self.model):
            logits: Tensor = self.model(images)
        return logits


class Smoothed(nn.Module):
    """The model's own logits, with the mean gradient of ``draws`` neighbours within ``radius`` epsilon."""

    def __init__(self, model: nn.Module, threat: ThreatModel, radius: float, draws: int = 20) -> None:
        super().__init__()
        self.model, self.draws = model, draws
        self.near = ThreatModel(threat.norm, radius * threat.epsilon)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) to (N, K); ``draws`` passes more where a gradient is wanted."""
        if not (images.requires_grad and torch.is_grad_enabled()):
            own: Tensor = self.model(images)
            return own
        with torch.no_grad():
            own = self.model(images)
            # From the global stream, which the runner has seeded.
            stream = Stream(int(torch.randint(2**31, ())), "neighbours")
            steps = [random_start(images, self.near, stream) - images for _ in range(self.draws)]
        mean = torch.stack([self.model(images + step) for step in steps]).mean(0)
        return own + (mean - mean.detach())


class Wrapped(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        """Whatever the function says."""
        return self.function(images)
