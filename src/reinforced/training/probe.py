"""A cheap robustness check after each epoch: the guard against catastrophic and robust overfitting."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import PGD, random_start
from reinforced.attacks.threat import ThreatModel
from reinforced.component import Component, setting
from reinforced.data import Split, to_float
from reinforced.errors import ReinforcedError
from reinforced.regularisers.gradient_alignment import cosine
from reinforced.streams import Stream
from reinforced.training.adversaries import Adversary
from reinforced.training.adversaries.crafting import Crafting


class Probe(Component):
    """PGD after each epoch, on the first training images and on the first validation images; never on test.

    Catastrophic overfitting (Wong et al. 2020) is said to have happened when the accuracy under PGD on the
    training images falls below half of its best so far, and by at least 10 points; or when an adversary whose
    ball holds the probe's leaves at least 25 points more than PGD does, and twice as much: the network has
    learned that adversary, not robustness. A change of phase that gives up robustness on purpose looks like
    the first.
    """

    threat: str = setting("linf:8/255", "the ball, as on the command line")
    steps: int = setting(10, "of PGD, random start, step 2.5 * epsilon / steps", ge=1)
    train_images: int = setting(256, "training images attacked", unit="images", ge=1)
    validation_images: int = setting(256, "validation images attacked; 0 for none", unit="images", ge=0)
    every: int = setting(1, "epochs from one check to the next", unit="epochs", ge=1)
    on_collapse: Literal["say", "stop", "roll_back"] = setting(
        "say", "also stop, or put the last sound epoch's weights back and go on (three times at most)"
    )
    select: bool = setting(
        False,
        "choose the best checkpoint by robust instead of clean validation accuracy",
        source="Rice et al. 2020",
    )

    @field_validator("threat")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            return str(ThreatModel.parse(value))
        except ReinforcedError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _selectable(self) -> Probe:
        if self.select and not self.validation_images:
            raise ValueError("select needs validation_images")
        return self

    def covered_by(self, adversary: Adversary) -> bool:
        """Whether every image of the probe's ball is in the adversary's, so that their figures compare."""
        inner = getattr(adversary, "inner", adversary)
        if not isinstance(inner, Crafting):
            return False
        threat = ThreatModel.parse(self.threat)
        return inner.norm == threat.norm and inner.reach >= threat.epsilon * (1 - 1e-6)

    def due(self, epoch: int, epochs: int) -> bool:
        """Whether to check after ``epoch`` (from 1) of ``epochs``; always after the last."""
        return epoch % self.every == 0 or epoch == epochs

    def counts(self, train: Split, validation: Split) -> dict[str, int]:
        """How many images of each split it checks: those asked for, or as many as there are."""
        return {
            "robust_train_images": min(self.train_images, len(train)),
            "robust_validation_images": min(self.validation_images, len(validation)),
        }

    def measure(self, model: nn.Module, train: Split, validation: Split, seed: int) -> dict[str, float]:
        """Accuracy under PGD of the first images of each split, and the gradients' local alignment."""
        device = next(model.parameters()).device
        threat = ThreatModel.parse(self.threat)
        images, labels = first(train, self.train_images, device)
        found = {
            "robust_train_accuracy": _robust(model, images, labels, threat, self.steps, seed),
            "gradient_alignment": alignment(model, images, labels, threat, Stream(seed, "alignment")),
        }
        if self.validation_images:
            images, labels = first(validation, self.validation_images, device)
            found["robust_validation_accuracy"] = _robust(model, images, labels, threat, self.steps, seed)
        return found


def first(split: Split, count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """The first images (N, C, H, W) float32 in [0,1] and labels (N,) of a split, on a device."""
    rows = torch.arange(min(count, len(split)), device=split.labels.device)
    images, labels = split.batch(rows)
    return to_float(images).to(device), labels.to(device)


def collapsed(robust: float, best: float) -> bool:
    """Whether accuracy under PGD has collapsed from its best so far."""
    return robust < best / 2 and best - robust >= 0.1


def outwitted(robust: float, crafted: float) -> bool:
    """Whether the training adversary has become harmless: ``crafted`` is the accuracy that it leaves."""
    return robust < crafted / 2 and crafted - robust >= 0.25


def _robust(
    model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, steps: int, seed: int
) -> float:
    # A chunk is one batch: small ones cost a GPU more than the images do.
    result = run_attack(PGD(steps=steps), model, images, labels, threat, seed=seed, chunk=256)
    return result.robust.cpu().double().mean().item()


def alignment(model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel, stream: Stream) -> float:
    """Mean cosine between the loss gradient at an image and at a random point of its ball.

    Near 1 where the loss is locally linear, as one-step training needs; its fall announces catastrophic
    overfitting (Andriushchenko and Flammarion 2020, section 4). Images without gradient count 0.
    """
    training = model.training
    model.eval()

    def gradient(x: Tensor) -> Tensor:
        leaf = x.detach().requires_grad_()
        loss = F.cross_entropy(model(leaf).float(), labels, reduction="sum")
        return torch.autograd.grad(loss, leaf)[0].flatten(1)

    here, nearby = gradient(images), gradient(random_start(images, threat, stream))
    model.train(training)
    return cosine(here, nearby, of_zero=0).mean().item()
