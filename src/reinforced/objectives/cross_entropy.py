"""Supervised learning: cross-entropy with the labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.component import Component, setting
from reinforced.objectives.base import LossTerms, Rollout, SingleUpdate, at_least_float32
from reinforced.objectives.probability import describe
from reinforced.streams import Stream


class CrossEntropy(SingleUpdate, Component):
    """Mean of ``-log softmax(logits)[label]``, optionally against smoothed labels.

    With smoothing s the target is ``(1 - s) * onehot + s / K`` (Szegedy et al. 2016, section 7).
    """

    kind: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: float = setting(0.0, "mass moved from the label to all classes alike", ge=0, lt=1)

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:  # noqa: ARG002
        """Nothing is sampled."""
        return None

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:  # noqa: ARG002
        """Logits (B, K), labels (B,) to the mean cross-entropy in nats."""
        logits = at_least_float32(logits)
        loss = F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        return LossTerms(loss, describe(torch.softmax(logits.detach(), dim=-1), labels))
