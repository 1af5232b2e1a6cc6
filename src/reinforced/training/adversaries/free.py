"""Free adversarial training (Shafahi et al. 2019, arXiv 1904.12843)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reinforced.component import setting
from reinforced.objectives import Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import Passes, Trainee, View
from reinforced.training.adversaries.crafting import Crafting


class Free(Crafting):
    """Each batch is replayed; one backward pass gives the weights' update and the perturbation's step.

    The perturbation lives on from batch to batch (algorithm 1). Divide the epochs by ``minibatch_replays``
    for the same number of updates as a plain run. The step ascends the phase's own objective.
    """

    kind: Literal["free"] = "free"
    minibatch_replays: int = setting(
        8, "updates on each batch (m)", ge=1, source="Shafahi et al. 2019, CIFAR-10"
    )
    step: float | None = setting(
        None, "length of a step; none for epsilon", unit="pixels of [0,1]", gt=0, source="Shafahi et al. 2019"
    )
    start: Literal["none"] = setting("none", "the perturbation begins at zero and lives on")
    mode: Literal["train"] = setting("train", "the trained pass is the one that crafts")

    @property
    def replays(self) -> int:
        """Updates on the same batch."""
        return self.minibatch_replays

    def refuses(self, objective: Objective) -> str:
        """Objectives that repeat updates themselves."""
        if objective.updates > 1:
            return f"free and {objective.kind} both repeat updates on a batch; set objective.updates=1"
        return ""

    def passes(self, *, share: bool = True) -> Passes:  # noqa: ARG002
        """One forward and backward; the pixels' gradient is one input gradient more."""
        return Passes(forward=1, backward=2, crafting=1)

    def views(
        self,
        trainee: Trainee,  # noqa: ARG002
        images: Tensor,
        labels: Tensor,  # noqa: ARG002
        objective: Objective,  # noqa: ARG002
        stream: Stream,  # noqa: ARG002
        memory: dict[str, Tensor],
    ) -> tuple[View, ...]:
        """The images under the perturbation so far."""
        delta = memory.get("free.delta")
        if delta is None:
            delta = torch.zeros_like(images)
        memory["free.images"] = images
        return (View(self.bounded(images + delta, images).requires_grad_(), "crafted"),)

    def learn(self, views: tuple[View, ...], memory: dict[str, Tensor]) -> None:
        """Step the perturbation by the gradient that the weights' backward pass left on the images."""
        (view,) = views
        images = memory.pop("free.images")
        if view.images.grad is None:
            raise RuntimeError("free adversarial training needs the images' gradient")
        length = self.epsilon if self.step is None else self.step
        memory["free.delta"] = self.stepped(view.images.detach(), images, view.images.grad, length) - images
