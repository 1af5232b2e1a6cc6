"""The policy and the behaviour that explores around it, shared by the reward-based objectives."""

from __future__ import annotations

from typing import Literal, Self

import torch
from pydantic import field_validator, model_validator
from torch import Tensor

from reinforced.component import Component, setting
from reinforced.objectives.base import at_least_float32

NAMED_REWARDS = {"zero_one": (1.0, 0.0), "plus_minus": (1.0, -1.0)}


class RewardObjective(Component):
    """Settings of the objectives with a reward: that reward, and the epsilon-greedy behaviour that earns it.

    The policy is ``pi = softmax(logits / temperature)``; the behaviour acts by
    ``b = (1 - exploration) * base + exploration / K`` with ``base`` the policy itself (``sampled``) or
    all mass on its best class (``argmax``).
    """

    reward: tuple[float, float] = setting(
        NAMED_REWARDS["zero_one"],
        "reward of the right and of the wrong class; also by name: zero_one (1/0), plus_minus (+1/-1)",
        source="Zou et al. 2026: 1/0; Gupta 2020: +1/-1",
    )
    action: Literal["sampled", "argmax"] = setting(
        "sampled", "sample actions from the policy, or take its best class"
    )
    exploration: float = setting(
        0.0,
        "probability of acting uniformly at random instead",
        ge=0,
        lt=1,
        source="Zou et al. 2026, released code: 0.1",
    )
    importance: bool = setting(
        False, "weight each action by pi/b, b the marginal behaviour, so exploration does not bias"
    )
    temperature: float = setting(1.0, "softmax temperature of the policy", gt=0)
    log_floor: float = setting(
        0.0,
        "added to a probability before its logarithm",
        ge=0,
        lt=1,
        source="Zou et al. 2026, released code: 1e-6",
    )
    entropy_bonus: float = setting(
        0.0,
        "weight of the policy's mean entropy, subtracted from the loss",
        ge=0,
        unit="reward/nat",
        source="Mnih et al. 2016: 0.01",
    )

    @field_validator("reward", mode="before")
    @classmethod
    def _named_reward(cls, value: object) -> object:
        if isinstance(value, str):
            if value not in NAMED_REWARDS:
                raise ValueError(f"reward is a pair of numbers or one of {', '.join(NAMED_REWARDS)}")
            return NAMED_REWARDS[value]
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.reward[0] <= self.reward[1]:
            raise ValueError(f"the right class must earn more than a wrong one, got {list(self.reward)}")
        if self.importance and self.action == "argmax" and self.exploration == 0:
            raise ValueError("importance correction of argmax actions needs exploration > 0")
        return self

    def log_policy(self, logits: Tensor) -> Tensor:
        """``log pi`` of logits (B, K), in float32 or better, with gradient.

        Once a loss: gradients of two would be added in the logits' own precision, which may be half.
        """
        return torch.log_softmax(at_least_float32(logits) / self.temperature, dim=-1)

    def floored(self, log_pi: Tensor) -> Tensor:
        """``log(pi + log_floor)``, of any shape."""
        return torch.log(log_pi.exp() + self.log_floor) if self.log_floor else log_pi

    def base(self, pi: Tensor) -> Tensor:
        """What the behaviour does when it does not explore: (B, K) probabilities."""
        if self.action == "sampled":
            return pi
        return torch.zeros_like(pi).scatter_(1, pi.argmax(1, keepdim=True), 1.0)

    def behaviour(self, pi: Tensor) -> Tensor:
        """The marginal behaviour policy b: (B, K) probabilities."""
        return (1 - self.exploration) * self.base(pi) + self.exploration / pi.shape[-1]

    def rewards(self, actions: Tensor, labels: Tensor) -> Tensor:
        """Rewards of actions (..., B) for labels (B,): float32, shaped like the actions."""
        right, wrong = self.reward
        return torch.where(actions == labels, right, wrong)

    def with_bonus(self, loss: Tensor, log_pi: Tensor) -> Tensor:
        """The loss less ``entropy_bonus`` times the policy's mean entropy in nats (Williams & Peng 1991)."""
        if not self.entropy_bonus:
            return loss
        # not entr(pi), whose gradient is infinite where pi underflows to 0
        return loss + self.entropy_bonus * (log_pi.exp() * log_pi).sum(-1).mean()
