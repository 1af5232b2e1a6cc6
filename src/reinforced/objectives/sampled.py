"""Acting by sampled actions, and what each action earned: shared by ``reinforce`` and ``ppo``."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor

from reinforced.component import setting
from reinforced.objectives.base import Rollout
from reinforced.objectives.policy import RewardObjective
from reinforced.streams import Stream


class SampledObjective(RewardObjective):
    """Settings and rollout of the objectives that learn from sampled actions."""

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
    def _enough_samples(self) -> Self:
        if self.baseline == "leave_one_out" and self.samples < 2:
            raise ValueError("baseline leave_one_out needs samples of at least 2")
        return self

    @torch.no_grad()
    def rollout(self, logits: Tensor, labels: Tensor, stream: Stream) -> Rollout:
        """Draw (S, B) actions: the number of draws never depends on their outcome."""
        log_pi = self.log_policy(logits)
        pi = log_pi.exp()
        marginal = self.behaviour(pi)
        acting = marginal.expand(self.samples, *pi.shape)
        if self.coin == "batch" and self.exploration:
            explores = stream.shared_uniform(self.samples)[:, None, None] < self.exploration
            acting = torch.where(explores, 1 / pi.shape[-1], self.base(pi))
        draws = stream.uniform(len(labels), self.samples).T
        cumulative = acting.cumsum(-1)
        beyond = cumulative <= draws[..., None] * cumulative[..., -1:]
        actions = beyond.sum(-1).clamp(max=pi.shape[-1] - 1)
        return Rollout(
            actions,
            self.rewards(actions, labels),
            log_behaviour=of_actions(marginal, actions).log(),
            log_policy=of_actions(log_pi, actions),
        )

    def acted(self, rollout: Rollout | None) -> Rollout:
        """The rollout, which a sampled objective cannot do without."""
        if rollout is None:
            raise ValueError("a sampled objective learns from a rollout; call rollout() first")
        return rollout

    def advantages(self, rollout: Rollout) -> Tensor:
        """(S, B) rewards less the baseline, times ``pi / b`` of the policy that acted under importance."""
        advantages = rollout.rewards - self._baseline(rollout.rewards)
        if self.importance:
            advantages = advantages * (rollout.log_policy - rollout.log_behaviour).exp()
        return advantages

    def _baseline(self, rewards: Tensor) -> Tensor:
        if self.baseline == "batch_mean":
            return rewards.mean(1, keepdim=True)
        if self.baseline == "leave_one_out":
            return (rewards.sum(0) - rewards) / (self.samples - 1)
        return torch.zeros_like(rewards)


def of_actions(table: Tensor, actions: Tensor) -> Tensor:
    """Entries of a (B, K) table at actions (S, B): (S, B)."""
    return table.gather(1, actions.T).T
