"""Adversarial weight perturbation (Wu et al. 2020, arXiv 2004.05884), on top of another adversary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from reinforced.component import setting
from reinforced.objectives import LossTerms, Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import AdversarySettings, Passes, Terms, Trainee, View
from reinforced.training.adversaries.fast import Fast
from reinforced.training.adversaries.fgsm import FGSM
from reinforced.training.adversaries.mart import MART
from reinforced.training.adversaries.none import NoAdversary
from reinforced.training.adversaries.pgd import PGD
from reinforced.training.adversaries.trades import TRADES

Perturbing = Annotated[NoAdversary | FGSM | Fast | PGD | TRADES | MART, Field(discriminator="kind")]


class AWP(AdversarySettings):
    """Each update's gradient is taken at weights moved uphill: by ``gamma`` of each layer's norm (eq. 10).

    Weights of two and more axes move; they are back before the optimiser steps. The uphill direction is the
    gradient of the same loss on the same views.
    """

    kind: Literal["awp"] = "awp"
    inner: Perturbing = setting(PGD(), "the adversary whose images are trained on")
    gamma: float = setting(0.005, "perturbation of a layer, over its norm", ge=0, source="Wu et al. 2020")

    def refuses(self, objective: Objective) -> str:
        """Objectives that repeat updates, and what the inner adversary refuses."""
        if objective.updates > 1:
            return f"awp moves the weights for a single update; set {objective.kind}'s updates=1"
        return self.inner.refuses(objective)

    def passes(self, *, share: bool = True) -> Passes:  # noqa: ARG002
        """The inner adversary's, and a forward and full backward pass of each view."""
        inner = self.inner.passes(share=False)
        return inner + Passes(crafting=inner.forward + inner.backward)

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        stream: Stream,
        memory: dict[str, Tensor],
    ) -> tuple[View, ...]:
        """The inner adversary's; no forward pass is shared, for the weights are about to move."""
        return self.inner.views(replace(trainee, share=False), images, labels, objective, stream, memory)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:
        """The inner adversary's."""
        return self.inner.loss(logits, labels, terms)

    @contextmanager
    def around(self, trainee: Trainee, ascend: Callable[[], Tensor]) -> Iterator[None]:
        """Move the weights uphill, and put them back."""
        weights = [
            weight for weight in trainee.network.parameters() if weight.requires_grad and weight.dim() > 1
        ]
        gradients = torch.autograd.grad(ascend(), weights, allow_unused=True)
        kept = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                if gradient is not None:
                    length = gradient.norm()
                    scale = torch.where(length > 0, self.gamma * weight.norm() / length, 0.0)
                    weight.add_(gradient * scale)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, before in zip(weights, kept, strict=True):
                    weight.copy_(before)
