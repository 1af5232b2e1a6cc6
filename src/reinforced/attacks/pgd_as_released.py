"""The PGD that Zou et al. 2026 (arXiv 2606.12251) released, faults and all. NOT an attack of the runner.

It leaves the [0,1] box, and its steps shrink on confident models. Its figures are those of an ``unclipped``
threat, only to be shown beside those of sealed attacks. The step and the clipping are CleverHans 4's
``fast_gradient_method`` and ``clip_eta``, written anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn, TypedDict

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.attacks.base import AttackSettings, Batch
from reinforced.attacks.checks import check_inputs, check_logits
from reinforced.attacks.seal import device_of, sealed, seed_global
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

NAME: Final = "pgd-as-released"
BATCH = 128
"""Images a batch. The loss is the batch's mean, so another size is another attack."""


class Setting(TypedDict):
    """The attack's numbers: ``pgd_as_released(model, images, labels, **README)``."""

    norm: Norm
    epsilon: float
    step: float
    steps: int


README = Setting(norm="l2", epsilon=1.0, step=0.1, steps=100)
"""As the README of the released code has it."""
SCRIPT = Setting(norm="l2", epsilon=3.5, step=0.01, steps=250)
"""As its script has it; the steps add up to 2.5 at most, from a start on the sphere of radius 3.5."""

PRESETS = {"readme": README, "script": SCRIPT}
"""What ``preset`` names: step and steps. The radius is the threat's, as it was a flag of its own."""

FLOOR = 1e-6
"""Shortest gradient that is normalised; the released code floors the squared norm."""


@dataclass(frozen=True)
class ReleasedResult:
    """What the released procedure did, on the device of the images it was given; N images, T steps.

    Args:
        images: (N, C, H, W), in the norm ball but NOT clipped to [0,1].
        correct: (N,) bool, classified rightly afterwards; nothing was dropped beforehand.
        gradient_norms: (T,), the L2 norm of the batch-mean loss's gradient, mean over the images.
        step_ratios: (T, N), each step's length before projection over the nominal ``step``, in ``norm``:
            1 for a sound attack, below 1 where the floor bites, 0 where the gradient is exactly zero.
        outside: (N,) bool, the images that left [0,1] by more than 1e-6.
        threat: ``"unclipped l2:1"``.
        forwards, gradients: passes, in images.
        seconds: wall-clock.
    """

    images: Tensor
    correct: Tensor
    gradient_norms: Tensor
    step_ratios: Tensor
    outside: Tensor
    threat: str
    forwards: int
    gradients: int
    seconds: float


class PGDAsReleased(AttackSettings):
    """Chosen by name like an attack, yet run by evaluations alone, unsealed and beside the sealed attacks."""

    kind: Literal["pgd-as-released"] = NAME
    step: float = setting(
        README["step"], "nominal length of a step", unit="pixels of [0,1]", gt=0, source="released README"
    )
    steps: int = setting(README["steps"], "gradient steps", ge=1, source="released README")
    preset: Literal["readme", "script"] | None = setting(
        None, "stands for a step and steps; what is given beside it counts more"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: dict[str, Any]) -> dict[str, Any]:
        # Spelled out at once: the same attack must not go by two names.
        if given.get("preset") not in PRESETS:
            return given
        chosen = PRESETS[given["preset"]]
        rest = {name: value for name, value in given.items() if name != "preset"}
        return {"step": chosen["step"], "steps": chosen["steps"], **rest}

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> NoReturn:  # noqa: ARG002
        """Refused.

        Raises:
            ReinforcedError: always; sealed, it would be another attack.
        """
        raise ReinforcedError(f"{self.name}: runs in evaluations only, unsealed; choose pgd here")

    def check(self, threat: ThreatModel) -> None:
        """Refuse a threat that the released code asserts against.

        Raises:
            ReinforcedError: the step is longer than epsilon.
        """
        _check_settings(threat.norm, threat.epsilon, self.step, self.steps, BATCH)

    def run(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        threat: ThreatModel,
        *,
        seed: int,
        first_batch: int = 0,
    ) -> ReleasedResult:
        """:func:`pgd_as_released` in the ball of ``threat``, in batches of 128, without its box."""
        return pgd_as_released(
            model,
            images,
            labels,
            norm=threat.norm,
            epsilon=threat.epsilon,
            step=self.step,
            steps=self.steps,
            seed=seed,
            first_batch=first_batch,
        )


def pgd_as_released(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    epsilon: float = 1.0,
    step: float = 0.1,
    steps: int = 100,
    batch: int = BATCH,
    seed: int = 0,
    first_batch: int = 0,
) -> ReleasedResult:
    """Attack every image, misclassified ones too, in batches of ``batch``; the last may be smaller.

    The model is lent in eval mode with frozen weights and is afterwards as it was, like the random state.
    Costs ``steps + 1`` forward passes and ``steps`` input gradients an image.

    Args:
        model: [0,1] images (N, C, H, W) -> logits (N, K); also asked outside [0,1].
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64.
        norm: of the ball.
        epsilon: its radius, pixel units.
        step: nominal length of a step, pixel units; at most ``epsilon``, as the released code asserts.
        steps: how many.
        batch: images a batch.
        seed: with the batch's number it decides the random start.
        first_batch: the number of the first batch, for a part of the images: its offset divided by ``batch``.

    Raises:
        ReinforcedError: images, labels or logits of another form or range; a setting out of range.
    """
    check_inputs(images, labels)
    _check_settings(norm, epsilon, step, steps, batch)
    threat = unclipped(ThreatModel(norm, epsilon))
    began = time.perf_counter()
    device = device_of(model)
    found = torch.empty_like(images)
    correct = torch.empty(len(images), dtype=torch.bool, device=images.device)
    norms = torch.zeros(steps, len(images), device=images.device)
    ratios = torch.zeros_like(norms)
    with sealed(model, device) as meter, torch.enable_grad():
        for number, start in enumerate(range(0, len(images), batch), first_batch):
            rows = slice(start, start + batch)
            x, y = images[rows].to(device), labels[rows].to(device)
            stream = Stream(seed, f"{NAME}/{number}")
            seed_global(stream.generator.initial_seed(), device)
            noise = (2 * stream.uniform(*x.shape) - 1) * epsilon
            adv = x + _clipped(noise.to(x), norm, epsilon)
            for taken in range(steps):
                adv.requires_grad_()
                logits = meter(adv)
                if taken == 0:
                    check_logits(logits.detach(), y)
                # The mean: each image's gradient is divided by the number of its batch mates.
                (gradient,) = torch.autograd.grad(F.cross_entropy(logits, y), adv)
                move = step * _normalised(gradient, norm)
                adv = x + _clipped((adv.detach() + move) - x, norm, epsilon)
                norms[taken, rows] = _length(gradient, "l2").to(images.device)
                ratios[taken, rows] = (_length(move, norm) / step).to(images.device)
            with torch.no_grad():
                correct[rows] = (meter(adv).argmax(dim=1) == y).to(images.device)
            found[rows] = adv.to(images.device)
    outside = ((found < -1e-6) | (found > 1 + 1e-6)).flatten(1).any(dim=1)
    return ReleasedResult(
        found,
        correct,
        norms.mean(dim=1),
        ratios,
        outside,
        threat,
        meter.forwards,
        meter.gradients,
        time.perf_counter() - began,
    )


def unclipped(threat: ThreatModel) -> str:
    """The name of ``threat``'s ball without its box: ``"unclipped l2:1"``."""
    return f"unclipped {threat}"


def _normalised(gradient: Tensor, norm: Norm) -> Tensor:
    if norm == "linf":
        return gradient.sign()
    return gradient / (gradient**2).sum(dim=(1, 2, 3), keepdim=True).clamp_min(FLOOR**2).sqrt()


def _clipped(eta: Tensor, norm: Norm, epsilon: float) -> Tensor:
    if norm == "linf":
        return eta.clamp(-epsilon, epsilon)
    size = (eta**2).sum(dim=(1, 2, 3), keepdim=True).clamp_min(FLOOR**2).sqrt()
    return eta * (epsilon / size).clamp_max(1)


def _length(delta: Tensor, norm: Norm) -> Tensor:
    # In float64: the squares of the small gradients that this exists to show underflow in float32.
    flat = delta.flatten(1).double()
    return (flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)).float()


def _check_settings(norm: str, epsilon: float, step: float, steps: int, batch: int) -> None:
    if norm not in ("linf", "l2"):
        raise ReinforcedError(f"{NAME}: unknown norm {norm!r}; known: l2, linf")
    if steps < 1 or batch < 1:
        raise ReinforcedError(f"{NAME}: steps {steps}, batch {batch}; both are at least 1")
    if not 0 < step <= epsilon < float("inf"):
        raise ReinforcedError(
            f"{NAME}: step {step:g}, epsilon {epsilon:g}; as released, 0 < step <= epsilon is asserted: "
            f"set {NAME}(step=...) no longer than epsilon"
        )
