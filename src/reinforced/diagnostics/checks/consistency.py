"""Consistency: a model answers an image the same, however it is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from reinforced.attacks.pgd import random_start
from reinforced.attacks.seal import device_of, sealed
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check, counted, listed
from reinforced.diagnostics.findings import Finding
from reinforced.streams import Stream


class Consistency(Check):
    """Alone and beside others, with weights that train and frozen ones, with and without gradients.

    Attacks ask in batches, of frozen weights; a model that answers otherwise when asked otherwise is not the
    one that was attacked. Asked are ``images`` rightly classified images and as many random points of their
    balls. Randomised models are left out: their answers change anyway.
    Cost: 8 passes on ``images`` images.
    Fires: the logits of at least two of these points differ by more than ``apart`` of their range.
    False positives: batch norm on the batch's own statistics, whose figures do hang on the batch.
    """

    name: ClassVar[str] = "consistency"

    images: int = setting(16, "images asked about", ge=1)
    apart: float = setting(0.05, "difference of logits, as a part of an image's range of them", gt=0)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        rows = case.among(case.clean, self.images).nonzero().squeeze(1)
        if case.checked.randomised or not len(rows):
            return self.cannot("The model is randomised, or right on no image.")
        device = device_of(case.model)
        images = case.images[rows].to(device)
        points = torch.cat([images, random_start(images, case.threat, Stream(case.seed, self.name))])
        ways: dict[str, Callable[[], Tensor]] = {
            "alone": lambda: torch.cat([case.model(point[None]) for point in points]),
            "with weights that train": lambda: self._training(case, points),
            "while gradients are taken": lambda: self._graded(case, points),
        }
        with sealed(case.model, device):
            with torch.no_grad():
                asked = case.model(points).double()
            found = {name: self._turned(asked, way) for name, way in ways.items()}
        case.passes += (1 + len(ways)) * len(points)
        figures: dict[str, Any] = {name.replace(" ", "_"): count for name, count in found.items()}
        differing = {name: count for name, count in found.items() if count >= 2}
        if not differing:
            return self.silent(
                f"Of {counted(len(points), 'point')} none gets other logits {' or '.join(ways)}.", **figures
            )
        said = listed([f"{count} {name}" for name, count in differing.items()])
        said = f"Of {counted(len(points), 'point')} other logits have {said}"
        return self.fires("failed control", f"{said}: what answers is not what was attacked.", **figures)

    def _turned(self, asked: Tensor, way: Callable[[], Tensor]) -> int:
        with torch.no_grad():
            answers = way().detach().double()
        span = (asked.amax(1) - asked.amin(1)).clamp_min(torch.finfo(torch.float32).tiny)
        alike = (answers == asked) | (answers.isnan() & asked.isnan())
        difference = torch.where(alike, 0.0, (answers - asked).abs()).amax(1)
        # Asked this way round, logits that are no numbers are other logits.
        return int((~((difference <= self.apart * span) | (difference == 0))).sum())

    def _training(self, case: Case, points: Tensor) -> Tensor:
        weights = [weight for weight in case.model.parameters() if weight.is_floating_point()]
        for weight in weights:
            weight.requires_grad_(True)  # the seal undoes it
        answers: Tensor = case.model(points)
        for weight in weights:
            weight.requires_grad_(False)
        return answers

    def _graded(self, case: Case, points: Tensor) -> Tensor:
        with torch.enable_grad():
            answers: Tensor = case.model(points.clone().requires_grad_())
        return answers
