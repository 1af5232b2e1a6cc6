"""Generalised cross-entropy: a dial between cross-entropy and the mean absolute error."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reinforced.component import Component, setting
from reinforced.objectives.base import LossTerms, Rollout, SingleUpdate, at_least_float32
from reinforced.objectives.probability import describe, log_p_label, one_minus_exp
from reinforced.streams import Stream

NEGLIGIBLE = 1e-20  # |log p| is below 1e5 in use, so a smaller q changes nothing in float64 either


class GCE(SingleUpdate, Component):
    """Mean of ``(1 - p_y^q) / q`` (Zhang & Sabuncu 2018, equation 6).

    q = 0 is its limit ``-log p_y``, cross-entropy; q = 1 is ``1 - p_y``, the expected 1/0 loss and half the
    mean absolute error. The gradient is cross-entropy's times ``p_y^q``, image by image.
    """

    kind: Literal["gce"] = "gce"
    q: float = setting(
        0.7, "0 is cross-entropy, 1 the expected 1/0 loss", ge=0, le=1, source="Zhang & Sabuncu 2018: 0.7"
    )

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:  # noqa: ARG002
        """Nothing is sampled."""
        return None

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:  # noqa: ARG002
        """Logits (B, K), labels (B,) to the mean loss."""
        log_p = log_p_label(logits, labels)
        each = -log_p if self.q < NEGLIGIBLE else one_minus_exp(self.q * log_p) / self.q
        pi = torch.softmax(at_least_float32(logits.detach()), dim=-1)
        return LossTerms(each.mean(), describe(pi, labels))
