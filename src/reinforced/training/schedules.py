"""Learning-rate schedules: pure functions of the step, so that resuming needs no state.

``factor(step, steps, epoch_steps)`` multiplies the base rate: ``step`` counts updates from 0 within the
phase, ``steps`` is the phase's length and ``epoch_steps`` an epoch's, both in updates. A schedule's end is
after the last update, as in torch: no update is lost to a rate of 0.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field

from reinforced.component import Component, setting


class Constant(Component):
    """The base rate throughout."""

    kind: Literal["constant"] = "constant"

    def factor(self, step: int, steps: int, epoch_steps: int) -> float:  # noqa: ARG002
        """Always 1."""
        return 1.0


class Warmup(Component):
    """A linear rise to the base rate, shared by the schedules that can begin with one."""

    warmup_epochs: float = setting(0.0, "linear rise from near 0 to the base rate", unit="epochs", ge=0)

    def warmed(self, step: int, steps: int, epoch_steps: int) -> tuple[float | None, float]:
        """The factor while warming up (else ``None``), and the progress after it, 0 to 1."""
        warm = min(round(self.warmup_epochs * epoch_steps), steps)
        if step < warm:
            return (step + 1) / (warm + 1), 0.0
        return None, (step - warm) / (steps - warm)


class Cosine(Warmup):
    """Half a cosine from 1 to ``end_factor`` (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    end_factor: float = setting(0.0, "of the base rate, at the end", ge=0, le=1)

    def factor(self, step: int, steps: int, epoch_steps: int) -> float:
        """Cosine decay after the warm-up."""
        warming, progress = self.warmed(step, steps, epoch_steps)
        if warming is not None:
            return warming
        return self.end_factor + (1 - self.end_factor) * (1 + math.cos(math.pi * progress)) / 2


class Linear(Warmup):
    """A straight line from ``start_factor`` to ``end_factor`` after the warm-up."""

    kind: Literal["linear"] = "linear"
    start_factor: float = setting(1.0, "of the base rate, after the warm-up", gt=0, le=1)
    end_factor: float = setting(
        0.1, "of the base rate, at the end", ge=0, le=1, source="Zou et al. 2026, released code (SL)"
    )

    def factor(self, step: int, steps: int, epoch_steps: int) -> float:
        """Linear decay after the warm-up."""
        warming, progress = self.warmed(step, steps, epoch_steps)
        if warming is not None:
            return self.start_factor * warming
        return self.start_factor + (self.end_factor - self.start_factor) * progress


class Step(Component):
    """Multiply by ``gamma`` at each milestone."""

    kind: Literal["step"] = "step"
    milestones: tuple[float, ...] = setting(..., "epochs of the phase at which to decay", unit="epochs")
    gamma: float = setting(0.1, "what each milestone multiplies by", gt=0, le=1)

    def factor(self, step: int, steps: int, epoch_steps: int) -> float:  # noqa: ARG002
        """``gamma`` to the number of milestones passed."""
        passed = sum(step >= milestone * epoch_steps for milestone in self.milestones)
        return float(self.gamma**passed)


class OneCycle(Component):
    """A linear rise to the base rate at ``peak``, then a linear fall (Smith & Topin 2018)."""

    kind: Literal["one_cycle"] = "one_cycle"
    peak: float = setting(0.3, "where the base rate is reached, as a fraction of the phase", gt=0, lt=1)
    start_factor: float = setting(0.04, "of the base rate, at the start", gt=0, le=1)
    end_factor: float = setting(0.0, "of the base rate, at the end", ge=0, le=1)

    def factor(self, step: int, steps: int, epoch_steps: int) -> float:  # noqa: ARG002
        """Up to 1, then down."""
        progress = step / steps
        if progress < self.peak:
            return self.start_factor + (1 - self.start_factor) * progress / self.peak
        return 1 + (self.end_factor - 1) * (progress - self.peak) / (1 - self.peak)


class InverseTime(Component):
    """``1 / (1 + decay * step)``, a step an update: what Keras' optimisers call ``decay``."""

    kind: Literal["inverse_time"] = "inverse_time"
    decay: float = setting(1e-6, "per update", ge=0, source="Gupta 2020 (the Keras CIFAR-10 example)")

    def factor(self, step: int, steps: int, epoch_steps: int) -> float:  # noqa: ARG002
        """Inverse-time decay."""
        return 1 / (1 + self.decay * step)


AnySchedule = Annotated[
    Constant | Cosine | Linear | Step | OneCycle | InverseTime, Field(discriminator="kind")
]
