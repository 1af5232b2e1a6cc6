"""Proximal policy optimisation (Schulman et al. 2017): several clipped steps on one batch of actions."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from reinforced.component import setting
from reinforced.objectives.base import LossTerms, Rollout, Steady
from reinforced.objectives.probability import describe
from reinforced.objectives.sampled import SampledObjective, of_actions

STEEPEST = 20.0  # a log-ratio; e^20 is far outside any clip range and far inside float32


class PPO(Steady, SampledObjective):
    """Mean of ``-min(rho A, clip(rho, 1 - c, 1 + c) A)`` (equation 7), ``rho = pi(a) / pi_old(a)``.

    pi_old is the policy that acted, exploration left out, and A is ``reinforce``'s reward less baseline,
    times the constant ``pi_old(a) / b(a)`` under importance. At the first step rho is 1, and the gradient
    ``reinforce``'s with the same settings, whatever they are; a ratio to b could start outside the range.
    """

    kind: Literal["ppo"] = "ppo"
    clip: float = setting(
        0.2, "how far the ratio to the old policy is followed", gt=0, lt=1, source="Schulman et al. 2017: 0.2"
    )
    updates: int = setting(
        4,
        "gradient steps on each batch and its actions",
        ge=1,
        unit="steps",
        source="Schulman et al. 2017: 3 to 15 epochs",
    )

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:
        """Logits (B, K) of now, labels (B,), the rollout to the surrogate loss; logs the share clipped."""
        acted = self.acted(rollout)
        log_pi = self.log_policy(logits)
        old = self.floored(acted.log_policy)
        ratio = exp_with_tangent(self.floored(of_actions(log_pi, acted.actions)) - old)
        advantages = self.advantages(acted)
        followed = ratio * advantages
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip) * advantages
        loss = self.with_bonus(-torch.minimum(followed, clipped).mean(), log_pi)
        metrics = {
            "reward": acted.rewards.mean(),
            "clipped": (clipped < followed).float().mean(),
            **describe(log_pi.exp(), labels),
        }
        return LossTerms(loss, metrics)


def exp_with_tangent(x: Tensor) -> Tensor:
    """``exp(x)``, continued above ``STEEPEST`` by its tangent: no overflow, and a gradient everywhere."""
    bounded = x.clamp(max=STEEPEST)
    return bounded.exp() * (1 + (x - bounded))
