"""Fast gradient sign method (Goodfellow et al. 2015, section 4) as a training adversary."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.component import Component, setting
from reinforced.objectives import Objective
from reinforced.streams import Stream
from reinforced.training.adversaries.base import View, Views


class FGSM(Component):
    """One signed gradient step from the clean image, clipped to [0,1].

    As in the released code of Zou et al. 2026 the step's loss is the clean loss plus ``weight`` times the
    loss on the crafted images. With ``craft: sampled`` the crafting gradient is that of the objective's own
    rollout, so an image whose sampled action earned nothing (reward 1/0) is left unperturbed, unless batch
    norm in train mode passes it the other images' gradients.
    """

    kind: Literal["fgsm"] = "fgsm"
    epsilon: float = setting(
        0.01, "L-inf size of the step", unit="pixels of [0,1]", source="Zou et al. 2026", gt=0, le=1
    )
    weight: float = setting(
        1.0, "of the loss on crafted images, beside 1 for clean", gt=0, source="Zou et al. 2026"
    )
    craft: Literal["cross_entropy", "sampled"] = setting(
        "cross_entropy", "the loss whose gradient crafts: cross-entropy, or the objective on its own rollout"
    )

    def views(
        self, model: nn.Module, images: Tensor, labels: Tensor, objective: Objective, stream: Stream
    ) -> Views:
        """The clean images at weight 1 and the crafted ones at ``weight``; crafting costs 2 passes."""
        probe = images.detach().requires_grad_()
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            logits = model(probe)
        if self.craft == "sampled":
            rollout = objective.rollout(logits.detach(), labels, stream)
            loss = objective.loss(logits, labels, rollout).loss
        else:
            loss = F.cross_entropy(logits.float(), labels)
        (gradient,) = torch.autograd.grad(loss, probe)
        crafted = (images + self.epsilon * gradient.sign()).clamp(0, 1).detach()
        return Views((View(images), View(crafted, self.weight)), passes=2)
