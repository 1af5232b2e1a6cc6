"""AutoAttack (Croce and Hein 2020, arXiv 2003.01690), carried out by pyautoattack."""

from __future__ import annotations

from typing import Literal

import pyautoattack  # type: ignore[import-untyped]
from torch import Tensor

from reinforced.attacks.pyaa import Lent, PyAutoAttack
from reinforced.attacks.square import square_attack
from reinforced.component import setting


class AutoAttack(PyAutoAttack):
    """The reference ensemble: its attacks in turn, each on the images that the ones before left standing.

    ``standard``: APGD with cross-entropy, targeted APGD with DLR, targeted FAB, Square. ``plus``: APGD with
    cross-entropy and with DLR and FAB at 5 restarts, Square, and targeted APGD and FAB. ``rand``, for
    randomised models: APGD with cross-entropy and with DLR, 20 gradients a step.
    """

    kind: Literal["autoattack"] = "autoattack"
    version: Literal["standard", "plus", "rand"] = setting(
        "standard", "which attacks it runs", source="Croce and Hein 2020"
    )

    @property
    def cost(self) -> int:
        """Measured on a standing image with 10 classes (docs/attacks/autoattack.md)."""
        return {"standard": 9774, "plus": 17_606, "rand": 8087}[self.version]

    def perturb(self, lent: Lent) -> Tensor:
        """See :class:`~reinforced.attacks.pyaa.PyAutoAttack`."""
        lent.require_classes(
            3 if self.version == "rand" else 4,
            self.name,
            "apgd(eot=20)" if self.version == "rand" else "apgd, fab(targeted=true) and square",
        )
        # "custom", because the named versions log from the constructor on.
        attack = pyautoattack.AutoAttack(
            lent.model,
            attacks=[],
            version="custom",
            norm=lent.norm,
            eps=lent.threat.epsilon,
            seed=lent.seed,
            device=lent.images.device,
        )
        attack.logger = attack.apgd.logger = attack.apgd_targeted.logger = lent.ear
        attack.version = self.version
        if self.version != "rand":
            attack.square = square_attack(lent, p_init=0.8, resc_schedule=False)
        attack._set_version(self.version)
        if self.version != "rand":
            targets = lent.targets(attack.apgd_targeted.n_target_classes)
            attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = targets
        # Never its state_path: it cannot resume.
        found: Tensor
        found, _ = attack.run_standard_evaluation(lent.images, lent.labels, batch_size=len(lent.images))
        return found
