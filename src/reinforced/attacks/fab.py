"""Fast adaptive boundary attack (Croce and Hein 2020, arXiv 1907.02044), carried out by pyautoattack."""

from __future__ import annotations

from typing import ClassVar, Literal

from pyautoattack.fab_pt import FABAttack_PT  # type: ignore[import-untyped]
from pydantic import model_validator
from torch import Tensor

from reinforced.attacks.pyaa import Lent, PyAutoAttack
from reinforced.component import setting

_PAPER = "Croce and Hein 2020 (FAB)"
_AUTOATTACK = "Croce and Hein 2020 (AutoAttack)"


class FAB(PyAutoAttack):
    """Walks along the linearised decision boundary to a misclassified image near the clean one.

    Keeps what lies within epsilon, the clean image elsewhere; ``unprojected`` is the distance of what it
    kept, infinite elsewhere. A step costs two forward passes and K input gradients, one where targeted.
    """

    minimum_norm: ClassVar[bool] = True

    kind: Literal["fab"] = "fab"
    steps: int = setting(100, "steps a restart", ge=1, source=_PAPER)
    restarts: int = setting(
        1, "starts, the first at the image, the others at random; for each target", ge=1, source=_AUTOATTACK
    )
    targeted: bool = setting(False, "towards one wrong class after the other: one gradient a step, not K")
    target_classes: int = setting(9, "wrong classes to go for, at most", ge=1, source=_AUTOATTACK)
    alpha_max: float = setting(0.1, "largest pull back to the image", gt=0, le=1, source=_PAPER)
    eta: float = setting(1.05, "overshoot across the boundary", ge=1, source=_PAPER)
    beta: float = setting(0.9, "share of the perturbation kept after a success", gt=0, lt=1, source=_PAPER)

    @model_validator(mode="after")
    def _options_fit(self) -> FAB:
        if not self.targeted and "target_classes" in self.model_fields_set:
            raise ValueError("target_classes has a meaning only with targeted=true")
        return self

    @property
    def cost(self) -> int:
        """As of other attacks a forward pass and a gradient count one; with ten classes where untargeted."""
        each = 1.5 * self.target_classes if self.targeted else 6
        return round(each * self.steps * self.restarts)

    def perturb(self, lent: Lent) -> Tensor:
        """See :class:`~reinforced.attacks.pyaa.PyAutoAttack`."""
        attack = FABAttack_PT(
            lent.model,
            norm=lent.norm,
            n_restarts=self.restarts,
            n_iter=self.steps,
            eps=lent.threat.epsilon,
            alpha_max=self.alpha_max,
            eta=self.eta,
            beta=self.beta,
            seed=lent.seed,
            targeted=self.targeted,
            device=lent.images.device,
            n_target_classes=lent.targets(self.target_classes) if self.targeted else 1,
        )
        found: Tensor = attack.perturb(lent.images, lent.labels)
        return found
