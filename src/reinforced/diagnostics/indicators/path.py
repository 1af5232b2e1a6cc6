"""The path that PGD takes through the ball: what the dynamic indicators look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from reinforced.attacks.losses import Loss
from reinforced.attacks.pgd import direction, probe
from reinforced.attacks.seal import Meter
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import Indicator


@dataclass(frozen=True)
class Iterate:
    """Where a batch of B images stands on its path.

    Attributes:
        number: steps taken so far, t.
        images: (B, C, H, W), x_t.
        loss: (B,), of each image.
        gradient: (B, C, H, W), of its loss; ``None`` at the end, where nothing is ascended.
    """

    number: int
    images: Tensor
    loss: Tensor
    gradient: Tensor | None


class PathIndicator(Protocol):
    """Sees the iterates of one batch after the other."""

    def see(self, iterate: Iterate) -> None:
        """Take note; ``number`` 0 begins the next batch."""

    def result(self, forwards: int, gradients: int) -> Indicator:
        """What was seen, all images in order; the passes are those of the path."""


def walk(
    meter: Meter,
    start: Tensor,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int,
    step: float | None = None,
    loss: Loss = "ce",
) -> Iterator[Iterate]:
    """``steps + 1`` iterates: PGD as in ``attacks/pgd.py``, to the end for every image, broken or not.

    Args:
        meter: a sealed model.
        start: (B, C, H, W), x_0.
        images: (B, C, H, W), the centre of the ball.
        labels: (B,).
        threat: the ball, and the steps' norm.
        steps: how many.
        step: length of each, pixels of [0,1]; none for 2.5 * epsilon / steps.
        loss: what is ascended.
    """
    length = 2.5 * threat.epsilon / steps if step is None else step
    x = start
    for taken in range(steps):
        seen = probe(meter, x, labels, loss)
        yield Iterate(taken, x, seen.loss, seen.gradient)
        x = threat.project(x + length * direction(seen.gradient, threat.norm), images)
    yield Iterate(steps, x, probe(meter, x, labels, loss, ascend=False).loss, None)
