"""Fast gradient sign method (Goodfellow et al. 2015, arXiv 1412.6572, section 4)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import direction, probe, random_start
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream


class FGSM(AttackSettings):
    """One step along the gradient's sign (L-inf) or its unit direction (L2).

    With ``random_start`` it is R+FGSM as Wong et al. 2020 (arXiv 2001.03994) train with: a uniform draw from
    the ball, then a step of 1.25 epsilon, projected. Costs 1 forward pass and 1 input gradient an image.
    """

    kind: Literal["fgsm"] = "fgsm"
    loss: Loss = setting("ce", "what is ascended: ce, margin, dlr or gap", source="Goodfellow et al. 2015")
    random_start: bool = setting(False, "start uniformly in the ball", source="Goodfellow et al. 2015")
    step: float | None = setting(
        None,
        "length of the step; none for epsilon, or 1.25 * epsilon from a random start",
        unit="pixels of [0,1]",
        source="Goodfellow et al. 2015; Wong et al. 2020",
        gt=0,
    )

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; ``trace`` has one row, the start's.

        Raises:
            ReinforcedError: the logits carry no gradient to the images, or are too few for ``loss``.
        """
        x: Tensor = random_start(batch.images, threat, stream) if self.random_start else batch.images
        length = (1.25 if self.random_start else 1.0) * threat.epsilon if self.step is None else self.step
        seen = probe(model, x, batch.labels, self.loss)
        x = threat.project(x + length * direction(seen.gradient, threat.norm), batch.images)
        return AttackOutput(x, seen.loss[None])
