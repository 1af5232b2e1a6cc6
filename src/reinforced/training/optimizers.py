"""Optimisers of a recipe, each building torch's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from reinforced.component import Component, setting

Decay = Annotated[float, Field(ge=0, lt=1)]


class AdamW(Component):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    lr: float = setting(1e-3, "base learning rate", gt=0)
    weight_decay: float = setting(0.01, "decoupled weight decay", ge=0, source="torch")
    betas: tuple[Decay, Decay] = setting((0.9, 0.999), "decay of the two moments", source="torch")
    eps: float = setting(1e-8, "added to the denominator", gt=0, source="torch")

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's fused AdamW: one kernel for all tensors, which can also skip an update on the device."""
        return torch.optim.AdamW(
            parameters, lr=self.lr, weight_decay=self.weight_decay, betas=self.betas, eps=self.eps, fused=True
        )


class SGD(Component):
    """Stochastic gradient descent with momentum."""

    kind: Literal["sgd"] = "sgd"
    lr: float = setting(0.1, "base learning rate", gt=0)
    momentum: float = setting(0.9, "momentum", ge=0, lt=1)
    nesterov: bool = setting(False, "look ahead (Nesterov)")
    weight_decay: float = setting(5e-4, "L2 penalty", ge=0)

    @model_validator(mode="after")
    def _momentum_to_look_ahead(self) -> SGD:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs momentum > 0")
        return self

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's fused SGD."""
        return torch.optim.SGD(
            parameters,
            lr=self.lr,
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            fused=True,
        )


class RMSprop(Component):
    """RMSprop; the defaults are Keras', where ``decay`` is a schedule (``inverse_time``), not this."""

    kind: Literal["rmsprop"] = "rmsprop"
    lr: float = setting(1e-3, "base learning rate", gt=0)
    rho: float = setting(0.9, "decay of the squared gradient's average", gt=0, lt=1, source="Keras")
    eps: float = setting(1e-7, "added to the denominator, outside the root", gt=0, source="Keras")
    momentum: float = setting(0.0, "momentum", ge=0, lt=1)
    weight_decay: float = setting(0.0, "L2 penalty", ge=0)

    def build(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """torch's RMSprop, which has no fused form."""
        return torch.optim.RMSprop(
            parameters,
            lr=self.lr,
            alpha=self.rho,
            eps=self.eps,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
        )


AnyOptimizer = Annotated[AdamW | SGD | RMSprop, Field(discriminator="kind")]
