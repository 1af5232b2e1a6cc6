"""The fast minimum-norm attack (Pintor et al. 2021, arXiv 2102.12827, algorithm 1), through foolbox."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import model_validator
from torch import nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.minimum_norm import BEYOND, foolbox, minimise, settled
from reinforced.attacks.threat import ThreatModel, l2_norm
from reinforced.component import setting
from reinforced.streams import Stream


class FMN(AttackSettings):
    """Ascends the logit margin in unit L2 steps, in a ball that shrinks once an adversarial image is found.

    Costs ``steps`` forward passes and as many input gradients an image, and two forward passes at the end.
    """

    kind: Literal["fmn"] = "fmn"
    steps: int = setting(100, "gradient steps", ge=1, source="foolbox, by the paper's authors")
    max_step: float = setting(
        1.0, "first step's L2 length", unit="pixels of [0,1]", gt=0, source="foolbox, by the paper's authors"
    )
    min_step: float | None = setting(
        None, "last step's L2 length; none for max_step / 100", unit="pixels of [0,1]", gt=0, source="foolbox"
    )
    gamma: float = setting(
        0.05, "first relative change of the ball's radius", gt=0, lt=1, source="Pintor et al. 2021"
    )

    @model_validator(mode="after")
    def _steps_shrink(self) -> FMN:
        if self.min_step is not None and self.min_step > self.max_step:
            raise ValueError(f"min_step {self.min_step:g} is above max_step {self.max_step:g}")
        return self

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`.

        Raises:
            ReinforcedError: images outside [0,1]; the logits carry no gradient to the images.
        """
        attacks = foolbox()
        kind = attacks.L2FMNAttack if threat.norm == "l2" else attacks.LInfFMNAttack
        attack = kind(
            steps=self.steps, max_stepsize=self.max_step, min_stepsize=self.min_step, gamma=self.gamma
        )
        attack.project = _beyond(_project_l2 if threat.norm == "l2" else attack.project)
        return settled(model, batch, threat, minimise(attack, self.name, model, batch, stream))


def _beyond(project: Callable[..., Any]) -> Callable[..., Any]:
    """Project into a ball that is a hair larger.

    Until it has found an adversarial image, FMN goes to the point where it expects the boundary, and no
    further: where two logits are equal there, it stays, misses, and reports nothing.
    """
    return lambda x, x0, epsilon: project(x=x, x0=x0, epsilon=epsilon * (1 + BEYOND))


def _project_l2(x: Any, x0: Any, epsilon: Any) -> Any:
    """foolbox's own L2 projection divides the norm by itself: it never shrinks a perturbation."""
    delta = x.raw - x0.raw
    factor = (epsilon.raw / l2_norm(delta).clamp_min(1e-12)).clamp_max(1)
    return type(x)(x0.raw + delta * factor[:, None, None, None])
