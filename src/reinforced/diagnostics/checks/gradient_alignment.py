"""Do gradients point the same way throughout the ball? Where they do not, one step says nothing."""

from __future__ import annotations

from typing import Any, ClassVar

from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.pgd import PGD, random_start
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding, Grade
from reinforced.diagnostics.gradients import input_gradients, turned
from reinforced.streams import Stream


class GradientAlignment(Check):
    """Mean cosine between the margin's gradients at an image and at a random point of its ball.

    Andriushchenko and Flammarion 2020 (arXiv 2007.02617): it collapses with catastrophic overfitting, where
    FGSM training leaves a model that resists FGSM alone. Below ``tested`` that is put to the test: a
    mechanism where FGSM leaves most of the images, PGD less than half of those, and some of these had been
    claimed; else a hint, below ``cosine``. Cost: 4 passes an image, and 2 (steps + 1) where tested.
    Thresholds: docs/checks/gradient_alignment.md. False positives: an ordinarily trained model at a large
    epsilon can be as unaligned, hence a hint alone.
    """

    name: ClassVar[str] = "gradient_alignment"

    tested: float = setting(0.6, "mean cosine below which it is put to the test", ge=-1, le=1)
    cosine: float = setting(0.2, "mean cosine below which it is a hint by itself", ge=-1, le=1)
    steps: int = setting(10, "of PGD, where low", ge=2)
    images: int = setting(256, "claimed images looked at, at most", ge=1)

    def measure(self, case: Case) -> Finding:
        """Compare the gradients; where low, one step with many."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        chosen = case.among(case.claimed, self.images)
        images, labels = case.images[chosen], case.labels[chosen]
        if not len(labels):
            return self.cannot("The claimed attack leaves no image.")
        moved = random_start(images, case.threat, Stream(case.seed, self.name))
        here = input_gradients(case, images, labels, "margin")
        there = input_gradients(case, moved, labels, "margin")
        mean = float(turned(here, there).mean())
        message = f"Gradients at an image and at a random point of its ball have a mean cosine of {mean:.2f}"
        if mean >= self.tested:
            return self.silent(f"{message}.", mean=round(mean, 4), cosine=self.cosine)
        once = case.attack(FGSM(), on=case.clean).broken
        many = case.attack(PGD(steps=self.steps).suited(case.draws), on=case.clean).broken
        left, clean = int((case.clean & ~once).sum()), int(case.clean.sum())
        further = int((case.clean & ~once & many).sum())
        witnesses = case.witnesses(once | many)
        figures: dict[str, Any] = {
            "mean": round(mean, 4),
            "cosine": self.cosine,
            "fgsm_leaves": left,
            "pgd_breaks": further,
        }
        if left > clean / 2 and further > left / 2 and witnesses:
            message = f"{message}; FGSM leaves {left} of {clean} images and PGD breaks {further} of those"
            message = f"{message}: the model withstands single steps alone (catastrophic overfitting)."
            return self.fires("mechanism", message, witnesses=witnesses, **figures)
        if not witnesses and mean >= self.cosine:
            return self.silent(f"{message}.", **figures)
        grade: Grade = "witness" if witnesses else "heuristic"
        message = f"{message}; FGSM and PGD break {len(witnesses)} of the images left."
        return self.fires(grade, message, witnesses=witnesses, **figures)
