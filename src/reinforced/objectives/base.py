"""The protocol of an objective: what the policy is rewarded for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, Self

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
        log_policy: (S, B) log-probability of each action under the policy that acted, exploration left out.
    """

    actions: Tensor
    rewards: Tensor
    log_behaviour: Tensor
    log_policy: Tensor


@dataclass(frozen=True)
class LossTerms:
    """A batch's loss and what is logged beside it.

    Attributes:
        loss: scalar, with gradient; the mean over the batch.
        metrics: detached scalars on the logits' device, each a mean over the batch; the names never change
            during a phase.
    """

    loss: Tensor
    metrics: dict[str, Tensor]


class Objective(Protocol):
    """A classifier's logits are a one-step policy over classes; an objective says what it is rewarded for."""

    @property
    def kind(self) -> str:
        """The name a recipe selects it by."""

    @property
    def updates(self) -> int:
        """Gradient steps taken on one rollout of a batch: new logits each, the same rollout."""

    def at(self, progress: float) -> Objective:
        """The objective in force at ``progress`` of its phase, 0 at its first update and 1 at its end."""

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:
        """Act once on every image: logits (B, K), labels (B,). ``None`` where nothing is sampled."""

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:
        """The loss whose gradient the optimiser follows; rollout is what :meth:`rollout` returned."""


class Steady:
    """Part of an objective that is the same during its whole phase."""

    def at(self, progress: float) -> Self:  # noqa: ARG002
        """Itself, whatever the progress."""
        return self


class SingleUpdate(Steady):
    """Part of an objective that is steady and takes one gradient step on a batch, as most do."""

    @property
    def updates(self) -> int:
        """One."""
        return 1


def at_least_float32(logits: Tensor) -> Tensor:
    """Logits in the precision a loss needs: half precision widened to float32, float64 left as it is."""
    return logits if logits.dtype is torch.float64 else logits.float()
