"""HopSkipJump (Chen et al. 2020, arXiv 1904.02144, algorithm 2), through foolbox."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from torch import nn

from reinforced.attacks.base import Access, AttackOutput, AttackSettings, Batch
from reinforced.attacks.minimum_norm import foolbox, from_starts
from reinforced.attacks.pgd import direction
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream

_LARGEST = 2**25
"""Numbers in one of the tensors in which foolbox holds all noise of a gradient estimate (128 MiB)."""


class HopSkipJump(AttackSettings):
    """Walks along the decision boundary by gradients estimated from predicted classes alone.

    Each step estimates the boundary's normal from ``initial_evaluations * sqrt(step)`` noisy copies, goes
    along it, and returns to the boundary by bisection. About 18,000 queries an image by default.
    """

    access: ClassVar[Access] = "labels"

    kind: Literal["hopskipjump"] = "hopskipjump"
    steps: int = setting(40, "steps along the boundary", ge=1, source="Chen et al. 2020, released code")
    initial_evaluations: int = setting(
        100, "queries for the first gradient estimate", ge=1, source="Chen et al. 2020, section 4"
    )
    max_evaluations: int = setting(
        10_000,
        "queries for any one gradient estimate, at most",
        ge=1,
        source="Chen et al. 2020, released code",
    )
    gamma: float = setting(
        1.0, "scales the bisection's tolerance and the noise", gt=0, source="Chen et al. 2020, released code"
    )
    start_draws: int = setting(1000, "noise images tried as an image's start", ge=1, source="foolbox")

    @property
    def cost(self) -> int:
        """The gradient estimates' queries; the bisections add little."""
        return round(sum(self.initial_evaluations * math.sqrt(step + 1) for step in range(self.steps)))

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`.

        Raises:
            ReinforcedError: images outside [0,1]; a model whose predictions change from call to call.
        """
        attack = foolbox().HopSkipJumpAttack(
            steps=self.steps,
            initial_gradient_eval_steps=self.initial_evaluations,
            max_gradient_eval_steps=self.max_evaluations,
            gamma=self.gamma,
            constraint=threat.norm,
        )
        attack.approximate_gradients = _unit_each(attack.approximate_gradients)
        noise = min(self.initial_evaluations * math.sqrt(self.steps), self.max_evaluations)
        together = max(1, int(_LARGEST / (noise * batch.images[0].numel())))
        return from_starts(
            attack, self.name, model, batch, threat, stream, draws=self.start_draws, together=together
        )


def _unit_each(estimate: Callable[..., Any]) -> Callable[..., Any]:
    """foolbox divides the estimates by the norm of the whole batch: each step would shrink with its size."""

    def unit_each(*args: Any) -> Any:
        gradients = estimate(*args)
        return type(gradients)(direction(gradients.raw, "l2"))

    return unit_each
