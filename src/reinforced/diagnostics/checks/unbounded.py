"""No bound: with the whole pixel range to use, an attack that works breaks everything."""

from __future__ import annotations

from typing import ClassVar

import torch

from reinforced.attacks.pgd import PGD
from reinforced.attacks.seal import device_of, sealed
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, counted
from reinforced.diagnostics.findings import Finding


class Unbounded(Check):
    """PGD with the margin loss may turn an image into any other (Athalye et al. 2018, section 3.1).

    In L-inf geometry with epsilon 1, whatever the claim's norm: the L2 ball of radius sqrt(d) holds the same
    images, all of [0,1]. An image of another predicted class is among them, so a solution exists unless the
    model predicts one class only; then it has learnt nothing that could be robust.
    Cost: 40 passes an image and start, on ``images`` images; only what is left needs a second and a third.
    On randomised models one start of 200.
    Fires: more than ``left`` of the images and more than ``few`` of them are left.
    False positives: a steep model whose logits do not change over much of the box; none in calibration.
    """

    name: ClassVar[str] = "unbounded"

    images: int = setting(64, "at most; four times that on the thorough budget", ge=1)
    steps: int = setting(20, "of PGD", ge=1)
    restarts: int = setting(3, "of PGD", ge=1)
    left: float = setting(0.01, "share of the images that may be left", ge=0, lt=1)
    few: int = setting(2, "images that may be left", ge=0)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        device = device_of(case.model)
        with sealed(case.model, device) as model, torch.no_grad():
            classes = {
                int(c) for part in torch.split(case.images, 64) for c in model(part.to(device)).argmax(1)
            }
            case.passes += model.forwards
        if len(classes) < 2:
            return self.fires(
                "failed control",
                f"The model predicts one class for all {counted(len(case.images), 'image')}: an answer that "
                "never changes cannot be broken, and is no robustness.",
            )
        on = case.among(case.clean, self.images * (4 if case.budget == "thorough" else 1))
        attack = PGD(
            steps=self.steps,
            # Averaged passes do not stop early: one start costs more there than three elsewhere.
            restarts=1 if case.checked.randomised else self.restarts,
            loss="margin",
            eot=5 if case.checked.randomised else 1,
        )
        done = case.attack(attack, on=on, threat=ThreatModel("linf", 1.0), draws=min(case.draws, 20))
        attacked = int(done.attacked.sum())
        left = attacked - int(done.broken.sum())
        among = f"{left} of {counted(attacked, 'image')}"
        said = f"{attack.name} leaves {among} though it may change every pixel at will."
        if left > max(self.few, self.left * attacked):
            return self.fires("failed control", said, left=left, attacked=attacked)
        return self.silent(said, left=left, attacked=attacked)
