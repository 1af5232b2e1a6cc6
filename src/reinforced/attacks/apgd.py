"""Auto-PGD (Croce and Hein 2020, arXiv 2003.01690, section 3), carried out by pyautoattack."""

from __future__ import annotations

from typing import Literal

from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted  # type: ignore[import-untyped]
from pydantic import model_validator
from torch import Tensor

from reinforced.attacks.pyaa import Lent, PyAutoAttack
from reinforced.component import setting

_PAPER = "Croce and Hein 2020"


class APGD(PyAutoAttack):
    """PGD with momentum that halves its own step where the loss stops growing.

    Costs an image that stands ``restarts * (1 + steps) * eot`` input gradients, for each target class where
    it is targeted, and as many forward passes and a few.
    """

    kind: Literal["apgd"] = "apgd"
    loss: Literal["ce", "dlr"] | None = setting(
        None, "cross-entropy or difference of logits ratio; none for ce, for dlr where targeted"
    )
    steps: int = setting(100, "gradient steps a restart", ge=1, source=_PAPER)
    restarts: int = setting(1, "independent starts, for each target", ge=1, source=f"{_PAPER}, AutoAttack")
    targeted: bool = setting(False, "go for one wrong class after the other, the likeliest first")
    target_classes: int = setting(9, "wrong classes to go for, at most", ge=1, source=f"{_PAPER}, AutoAttack")
    eot: int = setting(1, "gradients averaged a step; 20 for randomised models", ge=1, source=_PAPER)
    rho: float = setting(0.75, "share of improving steps that keeps the step", gt=0, lt=1, source=_PAPER)

    @model_validator(mode="after")
    def _options_fit(self) -> APGD:
        if self.targeted and self.loss == "ce":
            raise ValueError("loss=ce has no targeted form; leave out targeted or the loss")
        if not self.targeted and "target_classes" in self.model_fields_set:
            raise ValueError("target_classes has a meaning only with targeted=true")
        return self

    def perturb(self, lent: Lent) -> Tensor:
        """See :class:`~reinforced.attacks.pyaa.PyAutoAttack`."""
        shared = {
            "n_iter": self.steps, "n_restarts": self.restarts, "eot_iter": self.eot, "rho": self.rho,
            "norm": lent.norm, "eps": lent.threat.epsilon, "seed": lent.seed,
            "device": lent.images.device, "logger": lent.ear,
        }  # fmt: skip
        if self.targeted:
            lent.require_classes(4, "apgd(targeted=true)", "apgd(loss=ce) or fab(targeted=true)")
            targets = lent.targets(self.target_classes)
            attack = APGDAttack_targeted(lent.model, n_target_classes=targets, **shared)
        else:
            if self.loss == "dlr":
                lent.require_classes(3, "apgd(loss=dlr)", "apgd(loss=ce)")
            attack = APGDAttack(lent.model, loss=self.loss or "ce", **shared)
        found: Tensor = attack.perturb(lent.images, lent.labels)
        return found
