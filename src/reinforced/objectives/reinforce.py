"""REINFORCE (Williams 1992) on a one-step episode: image in, class out, reward."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import model_validator
from torch import Tensor

from reinforced.component import setting
from reinforced.objectives.base import LossTerms, Rollout
from reinforced.objectives.policy import RewardObjective
from reinforced.streams import Stream


class Reinforce(RewardObjective):
    """Mean over images and samples of ``-(r - baseline) * w * log pi(a)``, a drawn from the behaviour.

    Its mean is ``expected_pg``'s gradient without a baseline (any exploration), with the leave-one-out
    baseline on-policy, and under importance correction with it. The batch-mean baseline contains the
    image's own reward and shrinks the mean by exactly 1 - 1/B; uncorrected exploration with a baseline m
    adds ``m * sum_a b(a) grad log pi(a)`` to the loss gradient's mean (docs/objectives/reinforce.md).
    """

    kind: Literal["reinforce"] = "reinforce"
    samples: int = setting(1, "actions drawn for each image", ge=1, unit="actions")
    coin: Literal["image", "batch"] = setting(
        "image",
        "toss the exploration coin for each image, or once for the whole batch",
        source="Zou et al. 2026, released code: batch",
    )
    baseline: Literal["none", "batch_mean", "leave_one_out"] = setting(
        "none",
        "subtracted from the reward: nothing, the batch's mean, or the mean of the image's other samples",
    )

    @model_validator(mode="after")
    def _enough_samples(self) -> Reinforce:
        if self.baseline == "leave_one_out" and self.samples < 2:
            raise ValueError("baseline leave_one_out needs samples of at least 2")
        return self

    @torch.no_grad()
    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout:
        """Draw (S, B) actions: the number of draws never depends on their outcome."""
        pi, _ = self.policy(logits)
        marginal = self.behaviour(pi)
        acting = marginal.expand(self.samples, *pi.shape)
        if self.coin == "batch" and self.exploration:
            explores = stream.shared_uniform(self.samples)[:, None, None] < self.exploration
            acting = torch.where(explores, 1 / pi.shape[-1], self.base(pi))
        draws = stream.uniform(len(labels), self.samples).T
        cumulative = acting.cumsum(-1)
        beyond = cumulative <= draws[..., None] * cumulative[..., -1:]
        actions = beyond.sum(-1).clamp(max=pi.shape[-1] - 1)
        log_behaviour = marginal.expand_as(acting).gather(2, actions[..., None])[..., 0].log()
        return Rollout(actions, self.rewards(actions, labels), log_behaviour)

    def loss(self, logits: Tensor, labels: Tensor, rollout: Rollout | None) -> LossTerms:
        """Logits (B, K), labels (B,) and their rollout to the surrogate loss; logs the mean reward."""
        if rollout is None:
            raise ValueError("reinforce learns from a rollout; call rollout() first")
        pi, log_pi = self.policy(logits)
        log_chosen = log_pi.gather(1, rollout.actions.T).T
        advantages = rollout.rewards - self._baseline(rollout.rewards)
        if self.importance:
            chosen = pi.detach().gather(1, rollout.actions.T).T
            advantages = advantages * chosen / rollout.log_behaviour.exp()
        loss = -(advantages * log_chosen).mean()
        return LossTerms(loss, {"reward": rollout.rewards.mean(), **self.describe(pi, labels)})

    def _baseline(self, rewards: Tensor) -> Tensor:
        if self.baseline == "batch_mean":
            return rewards.mean(1, keepdim=True)
        if self.baseline == "leave_one_out":
            return (rewards.sum(0) - rewards) / (self.samples - 1)
        return torch.zeros_like(rewards)
