"""The exact expectation of the REINFORCE estimator, at the cost of one supervised step."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from reinforced.objectives.base import LossTerms, Rollout, SingleUpdate
from reinforced.objectives.policy import RewardObjective
from reinforced.objectives.probability import describe
from reinforced.streams import Stream


class ExpectedPG(SingleUpdate, RewardObjective):
    """``-sum_a q(a) r(a) log pi(a)`` with q held constant: the mean of infinitely many REINFORCE losses.

    q is the behaviour b, or the policy itself under importance correction. With reward 1/0 and no
    exploration the gradient is that of ``1 - p_y``, the mean absolute error (Ghosh et al. 2017); with
    uncorrected exploration e it is that of ``(1 - e) (1 - p_y) + (e / K) CE``.
    """

    kind: Literal["expected_pg"] = "expected_pg"

    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout | None:  # noqa: ARG002
        """Nothing is sampled."""
        return None

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:  # noqa: ARG002
        """Logits (B, K), labels (B,) to the expected surrogate loss; logs the expected reward under b."""
        log_pi = self.log_policy(logits)
        pi = log_pi.detach().exp()
        behaviour = self.behaviour(pi)
        weighted = (pi if self.importance else behaviour) * self.floored(log_pi)
        right, wrong = self.reward
        at_label = labels[:, None]
        gained = (right - wrong) * weighted.gather(1, at_label)[:, 0]
        if wrong:
            gained = gained + wrong * weighted.sum(-1)
        reward = wrong + (right - wrong) * behaviour.gather(1, at_label).mean()
        loss = self.with_bonus(-gained.mean(), log_pi)
        return LossTerms(loss, {"reward": reward, **describe(pi, labels)})
