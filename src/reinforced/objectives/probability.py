"""Probabilities of classes from logits, in forms that stay accurate where they are tiny."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reinforced.objectives.base import at_least_float32


def log_p_label(logits: Tensor, labels: Tensor) -> Tensor:
    """``log softmax(logits)[label]`` of logits (B, K), labels (B,): (B,) in float32 or better, at most 0."""
    return torch.log_softmax(at_least_float32(logits), dim=-1).gather(1, labels[:, None])[:, 0]


def one_minus_exp(log_p: Tensor) -> Tensor:
    """``1 - p`` from ``log p <= 0``, value and gradient accurate to rounding for p near 0 and near 1.

    ``-expm1`` alone is accurate in value only: torch takes its gradient as ``result + 1``, which loses p as
    it nears the rounding unit. So the two halves of (0, 1) are split as for log(1 - exp(x)) in Maechler 2012.
    """
    return torch.where(log_p < -math.log(2), 1 - log_p.exp(), -torch.expm1(log_p))


def describe(pi: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Metrics of a policy (B, K): mean probability of the right class, and mean entropy in nats."""
    pi = pi.detach()
    right = pi.gather(1, labels[:, None]).mean()
    return {"p_correct": right, "entropy": torch.special.entr(pi).sum(-1).mean()}
