"""Decoupled direction and norm (Rony et al. 2019, arXiv 1811.09600, algorithm 1), through foolbox."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.minimum_norm import foolbox, minimise, settled
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream


class DDN(AttackSettings):
    """Ascends the cross-entropy on an L2 sphere that shrinks at adversarial images and else grows.

    Costs ``steps`` forward passes and as many input gradients an image, and two forward passes at the end.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("l2",)

    kind: Literal["ddn"] = "ddn"
    steps: int = setting(100, "gradient steps", ge=1, source="Rony et al. 2019, section 5")
    init_epsilon: float = setting(
        1.0, "first radius of the sphere", unit="pixels of [0,1]", gt=0, source="Rony et al. 2019, section 5"
    )
    gamma: float = setting(
        0.05, "relative change of the radius at each step", gt=0, lt=1, source="Rony et al. 2019, section 5"
    )

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`.

        Raises:
            ReinforcedError: images outside [0,1]; the logits carry no gradient to the images.
        """
        attack = foolbox().DDNAttack(steps=self.steps, init_epsilon=self.init_epsilon, gamma=self.gamma)
        found = minimise(attack, self.name, model, batch, stream, scaled_gradients=True)
        return settled(model, batch, threat, found)
