"""Autograd against central differences: does the backward pass belong to the forward pass?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reinforced.attacks.losses import widened
from reinforced.attacks.pgd import direction
from reinforced.attacks.seal import device_of, sealed
from reinforced.attacks.threat import ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.gradients import doubled
from reinforced.streams import Stream


class FiniteDifferences(Check):
    """Relative error of the margin's gradient against central differences, at a small and a large step.

    The lead of the runner-up over the label is differenced along the steepest ascent and ``directions``
    random ones; an image's error is |fd - g.v| over the longer of the two, as vectors over directions: 0 if
    they agree, 1 if one of them is zero. In float64 where the model converts. Small steps show gradients of
    another function (a straight-through quantiser), large ones a slope that the gradient denies (a
    staircase, a zero backward). A small step that the model's own rounding drowns (bfloat16 under autocast)
    grows fourfold, up to the large one, until the margin changes by ``clear`` times that rounding.
    Cost: 2 + 4 (directions + 1) passes, on up to ``images`` images; 2 (directions + 1) a growth, at most 4.
    Thresholds on the median image, since a ReLU kink spoils single ones: docs/checks/finite_differences.md.
    False positives: 8-bit rounding inside the model with an honest straight-through gradient.
    False negatives: such a quantiser beside half precision as coarse as it.
    """

    name: ClassVar[str] = "finite_differences"

    images: int = setting(64, "claimed images looked at, at most", ge=1)
    directions: int = setting(3, "random directions, beside the steepest", ge=1)
    small: float = setting(1e-3, "small step, as a part of epsilon", gt=0)
    large: float = setting(0.25, "large step, as a part of epsilon", gt=0)
    clear: float = setting(4, "change of the margin at the small step, as a multiple of its rounding", gt=0)
    small_error: float = setting(0.5, "median error above which it fires, small step", gt=0)
    large_error: float = setting(0.9, "median error above which it fires, large step", gt=0)

    def measure(self, case: Case) -> Finding:
        """Difference the margin around some of the claimed images."""
        if case.checked.randomised:
            return self.cannot("Two passes over an image differ, so that differences would be noise.")
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        chosen = case.among(case.claimed, self.images)
        twin = doubled(case)
        model, kind = (case.model, torch.float32) if twin is None else (twin, torch.float64)
        device = device_of(model)
        x, labels = case.images[chosen].to(device, kind), case.labels[chosen].to(device)
        if not len(labels) or not case.threat.epsilon:
            return self.cannot("The claimed attack leaves no image, or epsilon is 0.")
        with sealed(model, device) as meter:
            errors = self._errors(meter, x, labels, case.threat, Stream(case.seed, self.name))
            case.passes += meter.forwards + meter.gradients
        if errors is None:
            return self.cannot(f"The model's rounding drowns what changes over {self.large:g} epsilon.")
        small, step, large = errors
        figures: dict[str, Any] = {
            "small": round(small, 4),
            "large": round(large, 4),
            "small_error": self.small_error,
            "large_error": self.large_error,
            "step": step,
            "float64": int(twin is not None),
        }
        message = (
            f"Gradients are off finite differences by {small:.0%} over {step:g} epsilon "
            f"and by {large:.0%} over {self.large:g} epsilon (median image)"
        )
        if small <= self.small_error and large <= self.large_error:
            return self.silent(f"{message}.", **figures)
        remedies = ("bpda", "random_search", "black_box")
        return self.fires(
            "mechanism", f"{message}: they are not the slopes of the model.", remedies=remedies, **figures
        )

    def _errors(
        self, model: nn.Module, x: Tensor, labels: Tensor, threat: ThreatModel, stream: Stream
    ) -> tuple[float, float, float] | None:
        """The median error at the small step, that step as a part of epsilon, and the one at the large step.

        Nothing where no step is large enough for the model's precision.
        """
        # Off the border of the box, where a model that clamps has a kink.
        inset = self.large * threat.epsilon / (1 if threat.norm == "linf" else x[0].numel() ** 0.5)
        inset = min(inset, 0.25)
        x = x.clamp(inset, 1 - inset)
        leaf = x.clone().requires_grad_()
        with _Precision() as precision:
            logits = widened(model(leaf))
        rounding = precision.epsilon * logits.detach().abs().amax(dim=1)
        rival = logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(dim=1)

        def lead(logits: Tensor) -> Tensor:
            return (logits.gather(1, rival[:, None]) - logits.gather(1, labels[:, None])).squeeze(1)

        (gradient,) = torch.autograd.grad(lead(logits).sum(), leaf)
        gradient = gradient.nan_to_num(0, 0, 0)
        ways = [direction(gradient, threat.norm)]
        for _ in range(self.directions):
            noise = stream.normal(*x.shape).to(x)
            ways.append(direction(noise, threat.norm))
        said = torch.stack([(gradient * way).flatten(1).sum(dim=1) for way in ways])

        def differenced(part: float) -> tuple[float, bool]:
            """The median error over a part of epsilon, and whether the change there is more than rounding."""
            length = part * threat.epsilon
            with torch.no_grad():
                rises = [lead(model(x + length * way)) - lead(model(x - length * way)) for way in ways]
            seen = torch.stack(rises).to(said) / (2 * length)
            longer = torch.maximum(seen.norm(dim=0), said.norm(dim=0))
            error = ((seen - said).norm(dim=0) / longer).nan_to_num(0)
            clears = (2 * length * longer >= self.clear * rounding).double().mean()
            return float(error.median()), float(clears) >= 0.5

        large, clear = differenced(self.large)
        if not clear:
            return None
        step = self.small
        small, clear = differenced(step)
        while not clear:
            step = min(4 * step, self.large)
            small, clear = differenced(step)
        return small, step, large


class _Precision(TorchDispatchMode):
    """Notes the coarsest ``epsilon`` of all floating types that a computation passes through."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.epsilon = 0.0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        for value in tree_leaves(found):
            if isinstance(value, Tensor) and value.is_floating_point():
                self.epsilon = max(self.epsilon, torch.finfo(value.dtype).eps)
        return found
