"""The truncated series of the log-likelihood: a ladder from the expected reward to cross-entropy."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reinforced.component import Component, setting
from reinforced.objectives.base import LossTerms, Rollout, SingleUpdate, at_least_float32
from reinforced.objectives.probability import describe, log_p_label, one_minus_exp
from reinforced.streams import Stream


class Truncated(SingleUpdate, Component):
    """Mean of ``sum_(k <= T) (1 - p_y)^k / k``: the first T terms of ``-log p_y`` about p_y = 1.

    T = 1 is the expected 1/0 loss of reinforcement learning, T -> infinity cross-entropy (Tajwar et al. 2026,
    arXiv 2602.02710, the truncated objective of MaxRL, here in closed form rather than sampled). The gradient
    is cross-entropy's times ``1 - (1 - p_y)^T``, the chance that one of T sampled actions is right.
    """

    kind: Literal["truncated"] = "truncated"
    terms: int = setting(4, "T; 1 is the expected 1/0 loss, many are cross-entropy", ge=1, le=1000)

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:  # noqa: ARG002
        """Nothing is sampled."""
        return None

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:  # noqa: ARG002
        """Logits (B, K), labels (B,) to the mean loss in nats; takes B T memory."""
        wrong = one_minus_exp(log_p_label(logits, labels))
        k = torch.arange(1, self.terms + 1, device=wrong.device, dtype=wrong.dtype)
        each = (wrong[:, None] ** k / k).sum(1)
        pi = torch.softmax(at_least_float32(logits.detach()), dim=-1)
        return LossTerms(each.mean(), describe(pi, labels))
