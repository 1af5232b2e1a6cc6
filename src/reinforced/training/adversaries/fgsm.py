"""Fast gradient sign method (Goodfellow et al. 2015, section 4) as a training adversary."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reinforced.component import setting
from reinforced.objectives import LossTerms, Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import Passes, Terms, Trainee, View
from reinforced.training.adversaries.crafting import CRAFT, Craft, Crafting, crafting_loss


class FGSM(Crafting):
    """One gradient step; the loss is ``clean_weight`` times the clean one plus ``weight`` times the crafted.

    With both 1, as in the released code of Zou et al. 2026; with ``clean_weight`` 0, as in Gupta 2020, a
    step trains on crafted images only. With ``craft: sampled`` an image whose sampled action earned nothing
    (reward 1/0) is left unperturbed, unless batch norm in train mode passes it the other images' gradients.
    In train mode without a random start the clean view's own forward pass serves the crafting too.
    """

    kind: Literal["fgsm"] = "fgsm"
    epsilon: float = setting(
        0.01, "size of the ball, and of the step", unit="pixels of [0,1]", source="Zou et al. 2026", ge=0
    )
    step: float | None = setting(
        None, "length of the step; none for epsilon", unit="pixels of [0,1]", gt=0, source="Zou et al. 2026"
    )
    weight: float = setting(1.0, "of the loss on crafted images", gt=0, source="Zou et al. 2026")
    clean_weight: float = setting(
        1.0, "of the loss on clean images", ge=0, source="Zou et al. 2026; Gupta 2020: 0"
    )
    craft: Craft = setting("cross_entropy", CRAFT)

    @property
    def length(self) -> float:
        """Of the step, in pixel units."""
        return self.epsilon if self.step is None else self.step

    @property
    def strides(self) -> tuple[int, float]:
        """See :class:`Crafting`."""
        return 1, self.length

    def passes(self, *, share: bool = True) -> Passes:
        """Crafting costs an input gradient, and a forward pass where none is shared."""
        views = 2 if self.clean_weight else 1
        return Passes(forward=views, backward=2 * views, crafting=1 if share and self._shared else 2)

    @property
    def _shared(self) -> bool:
        return bool(self.clean_weight) and self.shares and self.start == "none"

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        stream: Stream,
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> tuple[View, ...]:
        """The clean images (unless they weigh nothing) and the crafted ones."""
        loss = crafting_loss(self.craft, labels, objective, stream)
        clean = self.clean_view(trainee, images) if self._shared else View(images, "clean")
        if clean.logits is not None:
            (gradient,) = torch.autograd.grad(loss(clean.logits), clean.images, retain_graph=True)
            crafted = self.stepped(images, images, gradient, self.length)
        else:
            crafted = self.ascend(trainee, images, loss, stream, steps=1, length=self.length)
        view = View(crafted.detach(), "crafted")
        return (clean, view) if self.clean_weight else (view,)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:  # noqa: ARG002
        """The weighted sum; the metrics are the first view's."""
        if len(logits) == 1:
            only = terms(0, logits[0])
            return LossTerms(self.weight * only.loss, only.metrics)
        clean, crafted = terms(0, logits[0]), terms(1, logits[1])
        return LossTerms(self.clean_weight * clean.loss + self.weight * crafted.loss, clean.metrics)
