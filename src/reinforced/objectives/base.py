"""The protocol of an objective: what the policy is rewarded for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from reinforced.streams import Stream


@dataclass(frozen=True)
class Rollout:
    """What acting gave: S sampled actions for each of B images. No gradient flows through it.

    Attributes:
        actions: (S, B) int64 class indices.
        rewards: (S, B) float.
        log_behaviour: (S, B) log-probability of each action under the marginal behaviour policy.
    """

    actions: Tensor
    rewards: Tensor
    log_behaviour: Tensor


@dataclass(frozen=True)
class LossTerms:
    """A batch's loss and what is logged beside it.

    Attributes:
        loss: scalar, with gradient; the mean over the batch.
        metrics: detached scalars on the logits' device, each a mean over the batch.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(Protocol):
    """A classifier's logits are a one-step policy over classes; an objective says what it is rewarded for."""

    @property
    def kind(self) -> str:
        """The name a recipe selects it by."""

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:
        """Act once on every image: logits (B, K), labels (B,). ``None`` where nothing is sampled."""

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:
        """The loss whose gradient the optimiser follows; rollout is what :meth:`rollout` returned."""


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in the precision a loss needs: half precision widened to float32, float64 left as it is."""
    return logits if logits.dtype is torch.float64 else logits.float()
