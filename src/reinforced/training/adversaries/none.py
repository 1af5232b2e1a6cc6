"""No adversary: a step trains on the clean images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reinforced.component import Component
from reinforced.objectives import Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import View, Views


class NoAdversary(Component):
    """Clean training."""

    kind: Literal["none"] = "none"

    def views(
        self,
        model: nn.Module,  # noqa: ARG002
        images: Tensor,
        labels: Tensor,  # noqa: ARG002
        objective: Objective,  # noqa: ARG002
        stream: Stream,  # noqa: ARG002
    ) -> Views:
        """The images as they are."""
        return Views((View(images),), passes=0)
