"""One objective passing into another over a phase, such as supervised into reinforcement learning."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator
from torch import Tensor

from reinforced.component import Component, setting
from reinforced.objectives.base import LossTerms, Rollout
from reinforced.objectives.mixture import Mixture
from reinforced.objectives.pure import PureObjective
from reinforced.streams import Stream


class Interpolation(Component):
    """``(1 - w) * first + w * second``, w going from 0 to 1 between two points of the phase.

    It acts and has a loss only at a progress: :meth:`at` gives the mixture in force there.
    """

    kind: Literal["interpolation"] = "interpolation"
    first: Annotated[PureObjective, Field(discriminator="kind")] = setting(..., "followed at the beginning")
    second: Annotated[PureObjective, Field(discriminator="kind")] = setting(..., "followed at the end")
    begin: float = setting(0.0, "progress at which w leaves 0", ge=0, lt=1, unit="share of the phase")
    end: float = setting(1.0, "progress at which w reaches 1", gt=0, le=1, unit="share of the phase")
    shape: Literal["linear", "cosine"] = setting("linear", "of w in between: straight, or half a cosine wave")

    @model_validator(mode="after")
    def _sensible(self) -> Interpolation:
        if self.begin >= self.end:
            raise ValueError(
                f"begin must come before end, got {self.begin} and {self.end}; a sudden change is two phases"
            )
        if self.first.updates != self.second.updates:
            raise ValueError(
                f"both parts must take as many gradient steps on a batch, got {self.first.kind} with"
                f" {self.first.updates} and {self.second.kind} with {self.second.updates}; set ppo's updates"
            )
        return self

    @property
    def updates(self) -> int:
        """Gradient steps on a batch, the same for both parts."""
        return self.first.updates

    def weight(self, progress: float) -> float:
        """The weight w of ``second`` at a progress of the phase: 0 up to ``begin``, 1 from ``end``."""
        share = min(max((progress - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return share if self.shape == "linear" else (1 - math.cos(math.pi * share)) / 2

    def at(self, progress: float) -> Mixture:
        """The mixture in force at ``progress`` of the phase."""
        return Mixture(self.first, self.second, self.weight(progress))

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:  # noqa: ARG002
        """Refused: it depends on the progress."""
        raise ValueError("an interpolation acts at a progress of its phase; call at() first")

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:  # noqa: ARG002
        """Refused: it depends on the progress."""
        raise ValueError("an interpolation has a loss at a progress of its phase; call at() first")
