"""Fast adversarial training: one step from a random start (Wong et al. 2020, arXiv 2001.03994)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from reinforced.component import setting
from reinforced.objectives import Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import Passes, Trainee, View
from reinforced.training.adversaries.crafting import CRAFT, START, Craft, Crafting, Start, crafting_loss


class Fast(Crafting):
    """A step of 1.25 epsilon from a uniform start, projected (algorithm 3); trains on crafted images only.

    It can still lose all robustness to PGD within an epoch or two (catastrophic overfitting): watch it with
    the recipe's ``probe``, or add the ``gradient_alignment`` regulariser.
    """

    kind: Literal["fast"] = "fast"
    start: Start = setting("uniform", START, source="Wong et al. 2020")
    overshoot: float = setting(1.25, "length of the step, over epsilon", gt=0, source="Wong et al. 2020")
    craft: Craft = setting("cross_entropy", CRAFT)

    def passes(self, *, share: bool = True) -> Passes:  # noqa: ARG002
        """One view; crafting costs a forward pass and an input gradient."""
        return Passes(forward=1, backward=2, crafting=2)

    def views(
        self,
        trainee: Trainee,
        images: Tensor,
        labels: Tensor,
        objective: Objective,
        stream: Stream,
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> tuple[View, ...]:
        """The crafted images."""
        loss = crafting_loss(self.craft, labels, objective, stream)
        length = self.overshoot * self.epsilon
        return (View(self.ascend(trainee, images, loss, stream, steps=1, length=length), "crafted"),)
