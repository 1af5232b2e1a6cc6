"""MART: misclassification-aware adversarial training (Wang et al. 2020)."""

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
from reinforced.training.adversaries.crafting import MODE, START, Crafting, Start, crafting_loss


class MART(Crafting):
    """``BCE(crafted) + beta * mean(KL(p(clean) || p(crafted)) * (1 - p_y(clean)))`` (table 1).

    The boosted cross-entropy ``BCE = -log p_y - log(1 - max_{k != y} p_k)`` is its own loss, so the phase's
    objective is cross_entropy.
    """

    kind: Literal["mart"] = "mart"
    beta: float = setting(5.0, "weight of the divergence (lambda)", ge=0, source="Wang et al. 2020")
    steps: int = setting(10, "gradient steps", ge=1, source="Wang et al. 2020")
    step: float = setting(
        0.007,
        "length of a step; all of them must reach epsilon",
        unit="pixels of [0,1]",
        gt=0,
        source="Wang et al. 2020",
    )
    start: Start = setting("normal", START, source="Wang et al. 2020, released code")
    mode: Mode = setting(
        "eval",
        MODE,
        source="Wang et al. 2020, released code",
    )

    def refuses(self, objective: Objective) -> str:
        """Every objective but plain cross-entropy."""
        plain = objective.kind == "cross_entropy" and not getattr(objective, "label_smoothing", 0)
        return "" if plain else "mart brings its own loss; use objective cross_entropy, or adversary trades"

    @property
    def strides(self) -> tuple[int, float]:
        """See :class:`Crafting`."""
        return self.steps, self.step

    def passes(self, *, share: bool = True) -> Passes:  # noqa: ARG002
        """Two views; crafting costs two passes a step."""
        return Passes(forward=2, backward=4, crafting=2 * self.steps)

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        stream: Stream,
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> tuple[View, ...]:
        """The clean images and the ones crafted on cross-entropy."""
        loss = crafting_loss("cross_entropy", labels, objective, stream)
        crafted = self.ascend(trainee, images, loss, stream, steps=self.steps, length=self.step)
        return View(images, "clean"), View(crafted, "crafted")

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:
        """Boosted cross-entropy and weighted divergence, logged as ``boosted`` and ``kl`` (nats)."""
        clean, crafted = (torch.log_softmax(widened(view), dim=1) for view in logits)
        at_label = labels[:, None]
        wrong = crafted.scatter(1, at_label, -torch.inf).amax(1)
        # log(1 - p) of the likeliest wrong class, exact also where p is close to 1.
        boosted = F.nll_loss(crafted, labels) - torch.log(-torch.expm1(wrong.clamp(max=-TINY))).mean()
        each = F.kl_div(crafted, clean, reduction="none", log_target=True).sum(1)
        missed = 1 - clean.gather(1, at_label)[:, 0].exp()
        divergence = (each * missed).mean()
        with torch.no_grad():
            metrics = terms(0, logits[0]).metrics
        total = boosted + self.beta * divergence
        return LossTerms(total, {**metrics, "boosted": boosted.detach(), "kl": divergence.detach()})


TINY = 1e-7  # log-probabilities nearer to 0 than float32 can tell from certainty
