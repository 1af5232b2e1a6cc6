"""The plane through an image that is spanned by its adversarial direction and a random one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import random_start
from reinforced.attacks.seal import device_of
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.diagnostics.indicators.base import lent
from reinforced.diagnostics.indicators.path import walk
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


@dataclass(frozen=True)
class Plane:
    """``image + a * adversarial + b * random``; a and b are in units of epsilon.

    Attributes:
        image: (C, H, W) float32 in [0,1].
        label: its class.
        adversarial, random: (C, H, W), each epsilon long in the threat's norm, at right angles.
        threat: says what epsilon is.
        forwards, gradients: passes that finding the adversarial direction took.
    """

    image: Tensor
    label: int
    adversarial: Tensor
    random: Tensor
    threat: ThreatModel
    forwards: int = 0
    gradients: int = 0

    def points(self, a: Tensor, b: Tensor, *, clip: bool = False) -> Tensor:
        """Coordinates (M,), (M,) to images (M, C, H, W); ``clip`` into [0,1]."""
        a, b = (each.to(self.image)[:, None, None, None] for each in (a, b))
        points = torch.addcmul(self.image, a, self.adversarial)
        points.addcmul_(b, self.random)
        return points.clamp_(0, 1) if clip else points

    def to(self, device: torch.device) -> Plane:
        """The same plane on another device."""
        image, adversarial, random = (each.to(device) for each in (self.image, self.adversarial, self.random))
        return replace(self, image=image, adversarial=adversarial, random=random)


def adversarial_plane(
    model: nn.Module,
    image: Tensor,
    label: int,
    threat: ThreatModel,
    *,
    seed: int = 0,
    steps: int = 20,
    loss: Loss = "ce",
) -> Plane:
    """The plane of Zou et al. 2026: where PGD ends, and a random direction at right angles to it.

    PGD starts at a random point and goes on to its last step even where the image is broken before. Both
    directions are scaled to epsilon in the threat's norm. The random one is drawn as the norm's extreme
    directions are: signs for L-inf (Gaussian entries would make it a third as long in L2), normal for L2.

    Args:
        model: [0,1] images -> logits.
        image: (C, H, W) float32 in [0,1].
        label: its class.
        threat: ball of the attack, and unit of the axes.
        seed: of the start and the random direction.
        steps: of PGD, each 2.5 * epsilon / steps long.
        loss: what PGD ascends.

    Raises:
        ReinforcedError: epsilon 0, or an image of one pixel value, has no such plane.
    """
    if threat.epsilon == 0 or image.numel() < 2:
        raise ReinforcedError(f"threat {threat}: no plane without two directions of some length")
    images, labels = image[None].cpu(), torch.tensor([label])
    stream = Stream(seed, "landscape/start")
    with lent(model, images, labels, seed=seed) as meter:
        device = device_of(model)
        start = random_start(images, threat, stream).to(device)
        x, y = images.to(device), labels.to(device)
        for iterate in walk(meter, start, x, y, threat, steps=steps, loss=loss):
            end = iterate.images
    found = (end.cpu() - images)[0].double()
    if not found.any():
        raise ReinforcedError("PGD did not move the image (no room in [0,1]?): no adversarial direction")
    random = _draw(image, threat.norm, Stream(seed, "landscape/random")).double()
    random -= found * ((found * random).sum() / (found * found).sum())
    u, v = ((each * (threat.epsilon / _length(each, threat.norm))).float() for each in (found, random))
    return Plane(images[0], label, u, v, threat, meter.forwards, meter.gradients)


def _draw(image: Tensor, norm: Norm, stream: Stream) -> Tensor:
    draws = stream.normal(*image.shape)
    return torch.where(draws < 0, -1.0, 1.0) if norm == "linf" else draws


def _length(vector: Tensor, norm: Norm) -> Tensor:
    return vector.abs().max() if norm == "linf" else torch.linalg.vector_norm(vector)
