"""REINFORCE (Williams 1992) on a one-step episode: image in, class out, reward."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from reinforced.objectives.base import LossTerms, Rollout, SingleUpdate
from reinforced.objectives.probability import describe
from reinforced.objectives.sampled import SampledObjective, of_actions


class Reinforce(SingleUpdate, SampledObjective):
    """Mean over images and samples of ``-(r - baseline) * w * log pi(a)``, a drawn from the behaviour.

    Its mean is ``expected_pg``'s gradient without a baseline (any exploration), with the leave-one-out
    baseline (RLOO) on-policy, and under importance correction with it. The batch-mean baseline contains the
    image's own reward and shrinks the mean by exactly 1 - 1/B; uncorrected exploration with a baseline m
    adds ``m * sum_a b(a) grad log pi(a)`` to the loss gradient's mean (docs/objectives/reinforce.md).
    """

    kind: Literal["reinforce"] = "reinforce"

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:
        """Logits (B, K), labels (B,) and their rollout to the surrogate loss; logs the mean reward."""
        acted = self.acted(rollout)
        log_pi = self.log_policy(logits)
        surrogate = self.advantages(acted) * self.floored(of_actions(log_pi, acted.actions))
        loss = self.with_bonus(-surrogate.mean(), log_pi)
        return LossTerms(loss, {"reward": acted.rewards.mean(), **describe(log_pi.exp(), labels)})
