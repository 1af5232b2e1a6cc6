"""The weighted sum of two objectives, taken on the same logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from reinforced.objectives.base import LossTerms, Objective, Rollout, Steady, at_least_float32
from reinforced.objectives.probability import describe
from reinforced.streams import Stream


@dataclass(frozen=True)
class PairedRollout(Rollout):
    """The rollouts of both parts of a mixture; its own tensors are theirs, one after the other along S."""

    first: Rollout | None
    second: Rollout | None


@dataclass(frozen=True)
class Mixture(Steady):
    """``(1 - weight) * first + weight * second``, both parts taken on the same logits.

    Both are always computed and always draw what they draw, so that neither the metrics' names nor the
    stream's place depend on the weight.
    """

    first: Objective
    second: Objective
    weight: float
    kind: str = "interpolation"

    @property
    def updates(self) -> int:
        """Gradient steps on a batch, the same for both parts."""
        return self.first.updates

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:
        """The first part acts, then the second; ``None`` if neither samples."""
        first = self.first.rollout(logits, labels, stream)
        second = self.second.rollout(logits, labels, stream)
        acted = [part for part in (first, second) if part is not None]
        if not acted:
            return None
        return PairedRollout(
            torch.cat([part.actions for part in acted]),
            torch.cat([part.rewards for part in acted]),
            torch.cat([part.log_behaviour for part in acted]),
            torch.cat([part.log_policy for part in acted]),
            first,
            second,
        )

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:
        """Logits (B, K), labels (B,) to the weighted loss; the parts' metrics carry their names in front."""
        logits = at_least_float32(logits)  # once: the parts' gradients are added in this precision
        pair = (rollout.first, rollout.second) if isinstance(rollout, PairedRollout) else (None, None)
        terms = [part.loss(logits, labels, own) for part, own in zip(self._parts, pair, strict=True)]
        loss = (1 - self.weight) * terms[0].loss + self.weight * terms[1].loss
        metrics = describe(torch.softmax(logits.detach(), dim=-1), labels)
        metrics["second_weight"] = torch.full_like(loss.detach(), self.weight)
        for name, part in zip(("first", "second"), terms, strict=True):
            metrics[f"{name}_loss"] = part.loss.detach()
            metrics |= {f"{name}_{metric}": value for metric, value in part.metrics.items()}
        return LossTerms(loss, metrics)

    @property
    def _parts(self) -> tuple[Objective, Objective]:
        return self.first, self.second
