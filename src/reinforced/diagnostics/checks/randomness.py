"""Randomness: whether predictions or gradients change from pass to pass, and what averaging them finds."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from reinforced.attacks.pgd import PGD, probe
from reinforced.attacks.seal import device_of, sealed
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding

_ATHALYE = "Athalye et al. 2018"


class Randomness(Check):
    """Predict and differentiate repeatedly; where the passes differ, attack the average (EOT).

    Expectation over transformation: Athalye et al. 2018 (arXiv 1707.07397; 1802.00420, section 5.3). An
    image is broken where at least 63 of 100 draws are wrong, which a fair coin is in 0.6 % of cases.
    Cost: 4 passes on 32 images of a deterministic model; on a random one ``draws`` passes on 32 images and
    ``2 * steps * eot`` on every standing one (160 quick, 2,000 standard, 8,000 thorough), 100 to verify.
    Fires: a prediction share above ``flips`` changes, or two gradients of one image agree by less than
    ``cosine`` on average (own choice: deterministic models have 0 and 1 up to rounding).
    False positives: a model whose noise is large but harmless fires as a mechanism; where its remedies find
    nothing the verdict is inconclusive.
    """

    name: ClassVar[str] = "randomness"

    draws: int = setting(20, "predictions an image", ge=2)
    flips: float = setting(0.01, "share of images whose prediction changes", ge=0, le=1)
    cosine: float = setting(0.95, "mean cosine of two gradients of one image", ge=-1, le=1)
    quick: tuple[int, int] = setting((10, 8), "steps and draws a step of the attack", source=_ATHALYE)
    standard: tuple[int, int] = setting((40, 25), "steps and draws a step of the attack", source=_ATHALYE)
    thorough: tuple[int, int] = setting((100, 40), "steps and draws a step of the attack", source=_ATHALYE)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        rows = case.among(case.clean, 32).nonzero().squeeze(1)
        if not len(rows):
            return self.cannot("No image is rightly classified.")
        flips = self._flips(case, rows) if case.checked.randomised else 0.0
        cosine = None if case.blocks("gradients") else self._agreement(case, rows)
        if flips <= self.flips and (cosine is None or cosine >= self.cosine):
            return self.silent(
                "Predictions and gradients are the same in every pass.", flips=flips, cosine=cosine
            )
        shaking = f"From pass to pass {100 * flips:.0f} % of the predictions change"
        shaking += "" if cosine is None else f" and gradients have a mean cosine of {cosine:.2f}"
        if cosine is None:
            return self.fires(
                "mechanism",
                f"{shaking}; there are no gradients to average.",
                remedies=("black_box",),
                flips=flips,
            )
        steps, eot = {"quick": self.quick, "standard": self.standard, "thorough": self.thorough}[case.budget]
        attack = PGD(steps=steps, eot=eot, loss="margin")
        done = case.attack(attack, on=case.claimed, draws=min(case.draws, self.draws))
        witnesses = case.witnesses(done.broken)
        return self.fires(
            "witness" if witnesses else "mechanism",
            f"{shaking}; averaging {eot} passes a step, {attack.name} breaks {len(witnesses)} of the "
            f"{int(done.attacked.sum())} images left.",
            witnesses=witnesses,
            remedies=("ensemble", "bpda", "randomness"),
            flips=flips,
            cosine=cosine,
            broken=len(witnesses),
            attacked=int(done.attacked.sum()),
        )

    def _flips(self, case: Case, rows: Tensor) -> float:
        device = device_of(case.model)
        images = case.images[rows].to(device)
        with sealed(case.model, device) as model, torch.no_grad():
            torch.manual_seed(case.seed)
            predicted = torch.stack([model(images).argmax(1) for _ in range(self.draws)])
            case.passes += model.forwards
        return float((predicted != predicted[0]).any(0).float().mean())

    def _agreement(self, case: Case, rows: Tensor) -> float:
        device = device_of(case.model)
        images, labels = case.images[rows].to(device), case.labels[rows].to(device)
        with sealed(case.model, device) as model:
            torch.manual_seed(case.seed)
            one, two = (probe(model, images, labels, "margin").gradient.flatten(1) for _ in range(2))
            case.passes += model.forwards + model.gradients
        # Two gradients that are zero agree: other checks look for those.
        same = cosine_similarity(one.double(), two.double(), dim=1, eps=1e-300)
        return float(torch.where((one == 0).all(1) & (two == 0).all(1), 1.0, same).mean())
