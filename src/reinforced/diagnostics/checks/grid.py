"""Grid: adversarial examples with pixels of whole steps of 1/255, as the images themselves have."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, counted
from reinforced.diagnostics.findings import Finding


class Rounded(nn.Module):
    """A model behind rounding to the grid, whose backward pass is the identity (straight through)."""

    def __init__(self, model: nn.Module, levels: int) -> None:
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K)."""
        logits: Tensor = self.model(images + (self.rounded(images) - images).detach())
        return logits

    def rounded(self, images: Tensor) -> Tensor:
        """The nearest images on the grid."""
        return (images * self.levels).round() / self.levels


class Grid(Check):
    """PGD with the margin loss through rounding, and its images rounded before they are verified.

    An 8-bit image lies on the grid of 1/255, what an attack in floating point visits next to never does: a
    model that tells them apart answers attacks as one network and the world as another (so do those that
    denoise, or round). Only where all images are on the grid.
    Cost: 40 passes on every image left, quick; 200 standard, 400 thorough.
    Fires: any witness.
    False positives: none, each is verified.
    """

    name: ClassVar[str] = "grid"

    levels: int = setting(255, "steps of the grid from 0 to 1", ge=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        if case.blocks("gradients"):
            return self.cannot(f"It needs gradients: {case.blocks('gradients')}.")
        steps = case.images * self.levels
        if float((steps - steps.round()).abs().max()) > 1e-3:
            return self.cannot(f"The images are not on the grid of 1/{self.levels}.")
        ball = self._inside(case.threat, case.images[0].numel())
        rows = case.claimed.nonzero().squeeze(1)
        if ball is None or not len(rows):
            return self.cannot("No image is left, or the ball holds no other image of the grid.")
        attack = PGD(steps={"quick": 20, "standard": 100, "thorough": 200}[case.budget], loss="margin")
        attack = attack.suited(case.draws)
        behind = Rounded(case.model, self.levels).eval()
        images, labels = case.images[rows], case.labels[rows]
        result = case.run(attack, behind, images, labels, ball, seed=case.seed, draws=min(case.draws, 20))
        case.passes += result.passes
        found = behind.rounded(result.images)
        held = case.holding(rows, found)
        case.keep(rows[held], found[held])
        broken = torch.zeros_like(case.claimed)
        broken[rows[held]] = True
        witnesses = case.witnesses(broken)
        left = counted(len(rows), "image")
        said = f"PGD on the grid of 1/{self.levels} breaks {len(witnesses)} of the {left} left."
        return self.fires("witness", said, witnesses=witnesses) if witnesses else self.silent(said)

    def _inside(self, threat: ThreatModel, pixels: int) -> ThreatModel | None:
        """The ball in which rounding leads to no image outside ``threat``; ``None`` where there is none."""
        if threat.norm == "linf":
            epsilon = int(threat.epsilon * self.levels + 1e-6) / self.levels
        else:
            epsilon = threat.epsilon - 0.5 / self.levels * pixels**0.5
        return ThreatModel(threat.norm, epsilon) if epsilon > 0 else None
