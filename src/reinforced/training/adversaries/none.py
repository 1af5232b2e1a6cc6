"""No adversary: a step trains on the clean images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from reinforced.objectives import Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import AdversarySettings, Passes, Trainee, View


class NoAdversary(AdversarySettings):
    """Clean training."""

    kind: Literal["none"] = "none"

    def passes(self, *, share: bool = True) -> Passes:  # noqa: ARG002
        """A forward and a backward pass."""
        return Passes(forward=1, backward=2)

    def views(
        self,
        trainee: Trainee,  # noqa: ARG002
        images: Tensor,
        labels: Tensor,  # noqa: ARG002
        objective: Objective,  # noqa: ARG002
        stream: Stream,  # noqa: ARG002
        memory: dict[str, Tensor],  # noqa: ARG002
    ) -> tuple[View, ...]:
        """The images as they are."""
        return (View(images, "clean"),)
