"""The protocol of an adversary: which images a training step sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from reinforced.objectives import Objective
from reinforced.streams import Stream


@dataclass(frozen=True)
class View:
    """Images (B, C, H, W) in [0,1] that the objective's loss is taken on, with the weight of that loss."""

    images: Tensor
    weight: float = 1.0


@dataclass(frozen=True)
class Views:
    """What one step trains on, and what finding it cost.

    Attributes:
        trained: the images and their loss weights, in order; the first is what accuracy is logged on.
        passes: crafting passes an image (forward 1, input gradient 1).
    """

    trained: tuple[View, ...]
    passes: float


class Adversary(Protocol):
    """Turns clean training images into the ones a step trains on."""

    @property
    def kind(self) -> str:
        """The name a recipe selects it by."""

    def views(
        self, model: nn.Module, images: Tensor, labels: Tensor, objective: Objective, stream: Stream
    ) -> Views:
        """Images (B, C, H, W) in [0,1], labels (B,); crafting leaves weights, gradients and dropout alone."""
