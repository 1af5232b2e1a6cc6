"""PGD adversarial training (Madry et al. 2018, arXiv 1706.06083)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from reinforced.component import setting
from reinforced.objectives import LossTerms, Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import Passes, Terms, Trainee, View
from reinforced.training.adversaries.crafting import CRAFT, START, Craft, Crafting, Start, crafting_loss


class PGD(Crafting):
    """Several projected gradient steps from a random start; the last iterate is trained on.

    With ``clean_weight`` w the loss is ``w`` times the clean one plus ``1 - w`` times the crafted one.
    """

    kind: Literal["pgd"] = "pgd"
    steps: int = setting(10, "gradient steps", ge=1, source="Rice et al. 2020")
    step: float | None = setting(
        None, "length of a step; none for 2.5 * epsilon / steps", unit="pixels of [0,1]", gt=0
    )
    start: Start = setting("uniform", START, source="Madry et al. 2018")
    clean_weight: float = setting(0.0, "share of the clean loss in the total", ge=0, lt=1)
    craft: Craft = setting("cross_entropy", CRAFT, source="Madry et al. 2018: cross_entropy")

    @property
    def length(self) -> float:
        """Of a step, in pixel units."""
        return 2.5 * self.epsilon / self.steps if self.step is None else self.step

    @property
    def strides(self) -> tuple[int, float]:
        """See :class:`Crafting`."""
        return self.steps, self.length

    def passes(self, *, share: bool = True) -> Passes:  # noqa: ARG002
        """Crafting costs a forward pass and an input gradient a step."""
        views = 2 if self.clean_weight else 1
        return Passes(forward=views, backward=2 * views, crafting=2 * self.steps)

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        stream: Stream,
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> tuple[View, ...]:
        """The crafted images, after the clean ones where they weigh something."""
        loss = crafting_loss(self.craft, labels, objective, stream)
        crafted = self.ascend(trainee, images, loss, stream, steps=self.steps, length=self.length)
        view = View(crafted, "crafted")
        return (View(images, "clean"), view) if self.clean_weight else (view,)

    def loss(self, logits: tuple[Tensor, ...], labels: Tensor, terms: Terms) -> LossTerms:  # noqa: ARG002
        """The weighted sum; the metrics are the first view's."""
        if len(logits) == 1:
            return terms(0, logits[0])
        clean, crafted = terms(0, logits[0]), terms(1, logits[1])
        total = self.clean_weight * clean.loss + (1 - self.clean_weight) * crafted.loss
        return LossTerms(total, clean.metrics)
