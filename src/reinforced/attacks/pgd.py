"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083, section 2.1)."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import model_validator
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.threat import Norm, ThreatModel, l2_norm
from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


class PGD(AttackSettings):
    """Ascends the cross-entropy along its sign (L-inf) or its unit direction (L2), projecting each step.

    Keeps for each image the first misclassified iterate, else the one with the highest loss. Costs
    ``restarts * (steps + 1)`` forward passes and ``restarts * steps`` input gradients an image.
    """

    kind: Literal["pgd"] = "pgd"
    steps: int = setting(20, "gradient steps a restart", ge=1, source="Madry et al. 2018")
    step: float | None = setting(
        None, "length of a step; none for 2.5 * epsilon / steps", unit="pixels of [0,1]", gt=0
    )
    restarts: int = setting(1, "independent starts", ge=1)
    random_start: bool = setting(True, "start uniformly in the ball, else at the image itself")

    @model_validator(mode="after")
    def _restarts_differ(self) -> PGD:
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"{self.restarts} restarts from the same image are one; set random_start=true")
        return self

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; ``trace`` has ``restarts * (steps + 1)`` rows.

        Raises:
            ReinforcedError: the logits carry no gradient to the images.
        """
        length = 2.5 * threat.epsilon / self.steps if self.step is None else self.step
        best = batch.images
        best_score = torch.full_like(batch.labels, -math.inf, dtype=torch.float32)
        trace = []
        for _ in range(self.restarts):
            x = random_start(batch.images, threat, stream) if self.random_start else batch.images.clone()
            for taken in range(self.steps + 1):
                last = taken == self.steps
                x.requires_grad_(not last)
                logits = model(x).float()
                losses = F.cross_entropy(logits, batch.labels, reduction="none")
                trace.append(losses.detach())
                score = torch.where(logits.argmax(dim=1) == batch.labels, trace[-1], math.inf)
                # Ties go to the later iterate: a confident model's loss is exactly 0 all along in float32.
                better = (score >= best_score) & (best_score < math.inf)
                best = torch.where(better[:, None, None, None], x.detach(), best)
                best_score = torch.where(better, score, best_score)
                if last:
                    break
                if not losses.requires_grad:
                    raise ReinforcedError(
                        "pgd: the model's logits carry no gradient to the images; use a black-box attack"
                    )
                # The sum, not the mean: an image's gradient must not depend on how many others there are.
                (gradient,) = torch.autograd.grad(losses.sum(), x)
                x = threat.project(x.detach() + length * direction(gradient, threat.norm), batch.images)
        return AttackOutput(best, torch.stack(trace))


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Steepest ascent under ``norm``, (N, C, H, W) -> the same; zero where the gradient is zero."""
    if norm == "linf":
        return gradient.sign()
    # First by the largest entry: squares of a confident model's gradient underflow in float32.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    scaled = torch.where(largest > 0, gradient / largest, 0.0)
    return scaled / l2_norm(scaled)[:, None, None, None].clamp_min(1)


def random_start(images: Tensor, threat: ThreatModel, stream: Stream) -> Tensor:
    """A uniform draw from the ball around each of ``images`` (N, C, H, W), clamped to the box."""
    if threat.norm == "linf":
        noise = (2 * stream.uniform(*images.shape) - 1) * threat.epsilon
    else:
        # Uniform in a d-dimensional ball: a uniform direction, at radius u^(1/d).
        radius = threat.epsilon * stream.uniform(len(images), 1, 1, 1) ** (1 / images[0].numel())
        noise = radius * direction(stream.normal(*images.shape), "l2")
    return threat.project(images + noise.to(images), images)
