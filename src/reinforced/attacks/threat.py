"""What an attacker may do to an image: a norm ball in [0,1] pixel space, at input resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from reinforced.errors import ReinforcedError, did_you_mean

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)

ABSOLUTE_TOLERANCE = 1e-6
"""Rounding allowed in the L-inf ball and in the [0,1] box, in pixel units."""
RELATIVE_TOLERANCE = 1e-5
"""Rounding allowed in the L2 ball, as a part of epsilon."""


@dataclass(frozen=True)
class ThreatModel:
    """Images within ``epsilon`` of the original in ``norm``, and within the box [0,1].

    Args:
        norm: ``"linf"`` or ``"l2"``, the latter over all of an image's channels and pixels.
        epsilon: radius in pixel units of [0,1]; 0 leaves only the image itself.

    Raises:
        ReinforcedError: unknown norm; epsilon negative, not finite or, for L-inf, above 1.
    """

    norm: Norm
    epsilon: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise ReinforcedError(f"threat: unknown norm {self.norm!r}{did_you_mean(self.norm, NORMS)}")
        if not math.isfinite(self.epsilon) or self.epsilon < 0:
            raise ReinforcedError(
                f"threat {self.norm}: epsilon {self.epsilon:g} is not a finite number of at least 0; "
                "write it as in linf:8/255 or l2:0.5"
            )
        if self.norm == "linf" and self.epsilon > 1:
            hint = f"did you mean linf:{self.epsilon:g}/255?" if self.epsilon <= 255 else "use at most 1"
            raise ReinforcedError(
                f"threat linf: epsilon {self.epsilon:g} is more than the whole pixel range [0,1]; {hint}"
            )

    @classmethod
    def parse(cls, text: str) -> ThreatModel:
        """Read ``"linf:8/255"`` or ``"l2:0.5"``: a norm, a colon, a number or a fraction.

        Raises:
            ReinforcedError: the text has another form, or names a threat the constructor refuses.
        """
        norm, colon, radius = text.strip().lower().partition(":")
        if not colon:
            raise ReinforcedError(
                f"threat {text!r}: no colon; write NORM:EPSILON, as in linf:8/255 or l2:0.5"
            )
        numerator, _, denominator = radius.partition("/")
        try:
            epsilon = float(numerator) / (float(denominator) if "/" in radius else 1.0)
        except (ValueError, ZeroDivisionError):
            raise ReinforcedError(
                f"threat {text!r}: {radius!r} is not a number or a fraction; "
                "write it as in linf:8/255 or l2:0.5"
            ) from None
        return cls(norm, epsilon)  # type: ignore[arg-type]  # the constructor refuses unknown norms

    def __str__(self) -> str:
        """The shortest form that :meth:`parse` reads back exactly, ``"linf:8/255"`` or ``"l2:0.5"``."""
        short, levels = f"{self.epsilon:g}", round(self.epsilon * 255)
        decimal = short if float(short) == self.epsilon else repr(self.epsilon)
        fraction = f"{levels}/255"
        exact = levels / 255 == self.epsilon
        return f"{self.norm}:{fraction if exact and len(fraction) < len(decimal) else decimal}"

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """The image nearest to ``x_adv`` in the ball around ``x``, clamped to the box.

        Any memory format, no host synchronisation; projecting twice changes nothing.

        Args:
            x_adv: (N, C, H, W) floats, anywhere.
            x: (N, C, H, W) originals, in [0,1].

        Returns:
            (N, C, H, W), for which :meth:`excess` is 0.
        """
        if self.norm == "linf":
            return x_adv.clamp(x - self.epsilon, x + self.epsilon).clamp(0, 1)
        delta = x_adv - x
        norm = l2_norm(delta)[:, None, None, None]
        # A hair inside the sphere, so that rounding cannot put the result outside again.
        delta = delta * (self.epsilon * (1 - RELATIVE_TOLERANCE / 10) / norm)
        # Rounding of x + delta adds up over large images: where it moved away from x, step back.
        moved = x + delta
        moved = torch.where((moved - x).abs() > delta.abs(), torch.nextafter(moved, x), moved)
        # x is in the box, so clamping moves every coordinate towards x and stays in the ball.
        return torch.where(norm > self.epsilon, moved, x_adv).clamp(0, 1)

    def excess(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """How far ``x_adv`` lies outside the ball or the box, in pixel units; 0 inside, infinite for NaN.

        Args:
            x_adv: (N, C, H, W) floats.
            x: (N, C, H, W) originals, in [0,1].

        Returns:
            (N,): the larger of the two overshoots, each 0 within its tolerance.
        """
        slack = ABSOLUTE_TOLERANCE if self.norm == "linf" else RELATIVE_TOLERANCE * self.epsilon
        ball = self.distance(x_adv, x) - self.epsilon
        box = torch.maximum(-x_adv, x_adv - 1).amax(dim=(1, 2, 3))
        ball = torch.where(ball <= slack, 0.0, ball)
        box = torch.where(box <= ABSOLUTE_TOLERANCE, 0.0, box)
        return torch.maximum(ball, box).nan_to_num(nan=math.inf, posinf=math.inf)

    def distance(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Distance in this threat's norm, (N, C, H, W) twice -> (N,), in pixel units."""
        delta = x_adv - x
        return delta.abs().amax(dim=(1, 2, 3)) if self.norm == "linf" else l2_norm(delta)


def l2_norm(images: Tensor) -> Tensor:
    """Euclidean norm of each image, (N, C, H, W) -> (N,).

    One axis at a time: a single float32 sum over a large image is off by more than the L2 tolerance.
    """
    norm = images
    for _ in range(3):
        norm = torch.linalg.vector_norm(norm, dim=-1)
    return norm


DIGITS = ThreatModel("linf", 0.15)
"""Budget of the embedded digits data: under AutoAttack undefended models fall below 20 %, and adversarial
training keeps over 40 % (docs/results/digits_budget.md)."""

BUDGETS: Mapping[str, tuple[ThreatModel, ...]] = {
    # RobustBench's for CIFAR (Croce et al. 2021, arXiv 2010.09670)
    "standard": (ThreatModel("linf", 8 / 255), ThreatModel("l2", 0.5)),
    # arXiv 2606.12251: released README, released script, largest headline budget
    "zou2026": (ThreatModel("l2", 1.0), ThreatModel("l2", 3.5), ThreatModel("l2", 7.0)),
    "digits": (DIGITS,),
}
"""Named budgets, each one or more threats."""
