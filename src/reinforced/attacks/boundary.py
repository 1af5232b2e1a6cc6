"""The boundary attack (Brendel et al. 2018, arXiv 1712.04248), through foolbox."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from reinforced.attacks.base import Access, AttackOutput, AttackSettings, Batch
from reinforced.attacks.minimum_norm import foolbox, from_starts
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream


class Boundary(AttackSettings):
    """A random walk along the decision boundary towards the image, from predicted classes alone.

    Each step moves on a sphere around the image and then inwards, and is kept where it is adversarial and
    nearer. One query a step, two at every ``update_every``-th: by default at most 27,500 an image, besides
    those for the start. The walk's spheres are Euclidean: L2 only.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("l2",)
    access: ClassVar[Access] = "labels"

    kind: Literal["boundary"] = "boundary"
    steps: int = setting(25_000, "steps, fewer once all images have converged", ge=1, source="foolbox")
    spherical_step: float = setting(
        0.01,
        "first step on the sphere, as a part of the distance",
        gt=0,
        source="Brendel et al. 2018, foolbox",
    )
    source_step: float = setting(
        0.01, "first step inwards, as a part of the distance", gt=0, source="Brendel et al. 2018, foolbox"
    )
    convergence: float = setting(
        1e-7, "an image whose inward step is below this is done", ge=0, source="foolbox"
    )
    adaptation: float = setting(
        1.5, "step lengths grow or shrink by this factor", gt=1, source="Brendel et al. 2018, foolbox"
    )
    update_every: int = setting(10, "steps between looks at the success rates", ge=1, source="foolbox")
    start_draws: int = setting(1000, "noise images tried as an image's start", ge=1, source="foolbox")

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`.

        Raises:
            ReinforcedError: images outside [0,1]; a model whose predictions change from call to call.
        """
        attack = foolbox().BoundaryAttack(
            steps=self.steps,
            spherical_step=self.spherical_step,
            source_step=self.source_step,
            source_step_convergance=self.convergence,
            step_adaptation=self.adaptation,
            update_stats_every_k=self.update_every,
        )
        return from_starts(attack, self.name, model, batch, threat, stream, draws=self.start_draws)
