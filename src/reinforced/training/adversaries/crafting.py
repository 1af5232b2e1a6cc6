"""What the adversaries that perturb images share: the ball, the start, the loss, the steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor
from torch.nn import functional as F

from reinforced.attacks.losses import margin, widened
from reinforced.attacks.pgd import direction, random_start
from reinforced.attacks.threat import Norm, ThreatModel, l2_norm
from reinforced.component import setting
from reinforced.objectives import Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import AdversarySettings, Mode, Trainee, View

Craft = Literal["cross_entropy", "margin", "expected_pg", "sampled"]
Start = Literal["none", "uniform", "normal"]
NORMAL_START = 1e-3  # standard deviation, in pixels of [0,1]: Zhang et al. 2019, released code

START = "at the image, uniform in its ball, or 0.001 times a normal draw beside it"
MODE = "of batch norm and dropout while crafting; running averages never move"
CRAFT = (
    "the loss ascended: cross_entropy, margin (largest wrong logit minus the right one), expected_pg "
    "(1 - p_y), or sampled, the objective on its own rollout"
)


class Crafting(AdversarySettings):
    """Settings of a perturbation, and the ascent that finds it."""

    norm: Norm = setting("linf", "in which the perturbation is bounded")
    epsilon: float = setting(8 / 255, "size of the ball", unit="pixels of [0,1]", ge=0)
    start: Start = setting("none", START)
    mode: Mode = setting("train", MODE)
    clip: bool = setting(True, "keep crafted images in [0,1]")

    @property
    def strides(self) -> tuple[int, float]:
        """How many steps, and the length of each in pixel units; here a single one to the border."""
        return 1, self.epsilon

    @property
    def reach(self) -> float:
        """How far from where it starts the steps can get, in pixel units: all of epsilon, or less."""
        steps, length = self.strides
        return min(self.epsilon, steps * length)

    @model_validator(mode="after")
    def _reaches(self) -> Self:
        # Of a start that is spread over the ball some images are at its border to begin with.
        if self.start != "uniform" and self.reach < self.epsilon * (1 - 1e-6):
            steps, length = self.strides
            raise ValueError(
                f"steps={steps} of {length:g} cannot reach epsilon {self.epsilon:g}; "
                f"give step={self.epsilon / steps:.3g} or more"
            )
        return self

    def starts(self, images: Tensor, stream: Stream) -> Tensor:
        """Where the ascent begins: (B, C, H, W), inside the ball."""
        if self.start == "uniform":
            return random_start(images, ThreatModel(self.norm, self.epsilon), stream)
        if self.start == "normal":
            return self.bounded(images + NORMAL_START * stream.normal(*images.shape).to(images), images)
        return images

    def stepped(self, x: Tensor, images: Tensor, gradient: Tensor, length: float) -> Tensor:
        """One step of steepest ascent from ``x``, back into the ball around ``images``."""
        return self.bounded(x + length * direction(gradient, self.norm), images)

    def bounded(self, x: Tensor, images: Tensor) -> Tensor:
        """The nearest point of the ball around ``images``, and of [0,1] if ``clip``."""
        if self.clip:
            return ThreatModel(self.norm, self.epsilon).project(x, images)
        if self.norm == "linf":
            return x.clamp(images - self.epsilon, images + self.epsilon)
        delta = x - images
        length = l2_norm(delta)[:, None, None, None]
        return torch.where(length > self.epsilon, images + delta * (self.epsilon / length), x)

    def ascend(
        self,
        trainee: Trainee,
        images: Tensor,
        loss: Callable[[Tensor], Tensor],
        stream: Stream,
        *,
        steps: int,
        length: float,
    ) -> Tensor:
        """``steps`` steps of ``length`` up the gradient of ``loss`` (logits (B, K) to a scalar)."""
        x = self.starts(images, stream).detach()
        with trainee.crafting(self.mode) as forward:
            for _ in range(steps):
                x.requires_grad_()
                (gradient,) = torch.autograd.grad(loss(forward(x)), x)
                x = self.stepped(x.detach(), images, gradient, length)
        return x

    def clean_view(self, trainee: Trainee, images: Tensor) -> View:
        """The clean images, with logits of a trained forward pass where crafting would make the same one."""
        if not trainee.share or self.mode == "eval":
            return View(images, "clean")
        leaf = images.detach().requires_grad_()
        return View(leaf, "clean", trainee.forward(leaf))

    @property
    def shares(self) -> bool:
        """Whether :meth:`clean_view` carries logits, sharing allowed."""
        return self.mode == "train"


def crafting_loss(
    craft: Craft, labels: Tensor, objective: Objective, stream: Stream
) -> Callable[[Tensor], Tensor]:
    """The scalar to ascend, summed over images so that none's gradient depends on the batch's size."""

    def loss(logits: Tensor) -> Tensor:
        if craft == "sampled":
            rollout = objective.rollout(logits.detach(), labels, stream)
            return objective.loss(logits, labels, rollout).loss * len(labels)
        z = widened(logits)
        if craft == "cross_entropy":
            return F.cross_entropy(z, labels, reduction="sum")
        if craft == "margin":
            return margin(z, labels).sum()
        return -torch.softmax(z, dim=1).gather(1, labels[:, None]).sum()

    return loss
