"""TRADES (Zhang et al. 2019, arXiv 1901.08573): a clean loss and a divergence between clean and crafted."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.attacks.losses import widened
from reinforced.component import setting
from reinforced.objectives import LossTerms, Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import Mode, Passes, Terms, Trainee, View
from reinforced.training.adversaries.crafting import MODE, START, Crafting, Start


class TRADES(Crafting):
    """``objective(clean) + beta * KL(p(clean) || p(crafted))``, crafted by ascending that divergence (eq. 5).

    The objective stays free: cross-entropy gives TRADES itself, a reward RL-adv with the same divergence.
    """

    kind: Literal["trades"] = "trades"
    beta: float = setting(6.0, "weight of the divergence (1/lambda)", ge=0, source="Zhang et al. 2019")
    steps: int = setting(10, "gradient steps", ge=1, source="Zhang et al. 2019")
    step: float = setting(
        0.007,
        "length of a step; all of them must reach epsilon",
        unit="pixels of [0,1]",
        gt=0,
        source="Zhang et al. 2019, released code",
    )
    start: Start = setting("normal", START, source="Zhang et al. 2019, released code")
    mode: Mode = setting(
        "eval",
        MODE,
        source="Zhang et al. 2019, released code",
    )

    @property
    def strides(self) -> tuple[int, float]:
        """See :class:`Crafting`."""
        return self.steps, self.step

    def passes(self, *, share: bool = True) -> Passes:
        """Two views; crafting costs two passes a step, and one for the clean prediction unless shared."""
        shared = share and self.shares
        return Passes(forward=2, backward=4, crafting=2 * self.steps + (0 if shared else 1))

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,  # noqa: ARG002
        objective: Objective,  # noqa: ARG002
        stream: Stream,
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> tuple[View, ...]:
        """The clean images and the crafted ones."""
        clean = self.clean_view(trainee, images)
        if clean.logits is not None:
            target = clean.logits.detach()
        else:
            with trainee.crafting(self.mode) as forward, torch.no_grad():
                target = forward(images)
        target = torch.log_softmax(widened(target), dim=1)

        def divergence(logits: Tensor) -> Tensor:
            return kl(target, logits) * len(images)

        crafted = self.ascend(trainee, images, divergence, stream, steps=self.steps, length=self.step)
        return clean, View(crafted, "crafted")

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:  # noqa: ARG002
        """The clean objective plus beta times the divergence, which is logged as ``kl`` (nats)."""
        clean, crafted = logits
        objective = terms(0, clean)
        divergence = kl(torch.log_softmax(widened(clean), dim=1), crafted)
        total = objective.loss + self.beta * divergence
        return LossTerms(total, {**objective.metrics, "kl": divergence.detach()})


def kl(log_target: Tensor, logits: Tensor) -> Tensor:
    """Mean over images of KL(target || softmax(logits)) in nats: (B, K) log-probabilities, (B, K) logits."""
    log_pi = torch.log_softmax(widened(logits), dim=1)
    return F.kl_div(log_pi, log_target, reduction="batchmean", log_target=True)
