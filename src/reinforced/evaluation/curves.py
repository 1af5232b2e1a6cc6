"""Robust accuracy over the budget, over the number of steps, and from model to model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from reinforced.attacks.base import AttackSettings, run_attack
from reinforced.attacks.intervals import clopper_pearson
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.attacks.transfer import Transfer

EPSILON_FACTORS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 4.0)
STEP_COUNTS = (10, 30, 100, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class Point:
    """Robust accuracy at one setting.

    Attributes:
        interval: 95 % Clopper-Pearson.
        passes: what it took, in images.
        images: over how many.
        attack: its name.
    """

    at: float
    robust_accuracy: float
    interval: tuple[float, float]
    passes: int
    images: int
    attack: str


def over_epsilon(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    attack: AttackSettings,
    *,
    factors: Sequence[float] = EPSILON_FACTORS,
    seed: int = 0,
    chunk: int | None = None,
) -> list[Point]:
    """Robust accuracy under one attack at multiples of the threat's epsilon; ``at`` is the epsilon."""
    radii = [threat.epsilon * factor for factor in factors]
    if threat.norm == "linf":
        radii = sorted({min(radius, 1.0) for radius in radii})
    return [
        _point(radius, attack, model, images, labels, ThreatModel(threat.norm, radius), seed, chunk)
        for radius in radii
    ]


def over_steps(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    counts: Sequence[int] = STEP_COUNTS,
    loss: str = "ce",
    seed: int = 0,
    chunk: int | None = None,
) -> list[Point]:
    """Robust accuracy under PGD of ever more steps, each with a step of 2.5 epsilon / steps."""
    return [
        _point(
            count, parse_attack(f"pgd(steps={count},loss={loss})"), model, images, labels, threat, seed, chunk
        )
        for count in counts
    ]


def transfer_matrix(
    models: Mapping[str, nn.Module],
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    attack: AttackSettings,
    *,
    seed: int = 0,
    chunk: int | None = None,
) -> dict[str, dict[str, Point]]:
    """Accuracy of every model (inner key) on examples made with ``attack`` on every model (outer key)."""
    return {
        source: {
            target: _point(
                0.0,
                attack if source == target else Transfer({source: models[source]}, attack),
                models[target],
                images,
                labels,
                threat,
                seed,
                chunk,
            )
            for target in models
        }
        for source in models
    }


def _point(
    at: float,
    attack: AttackSettings | Transfer,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    seed: int,
    chunk: int | None,
) -> Point:
    result = run_attack(attack, model, images, labels, threat, seed=seed, chunk=chunk)
    count = int(result.robust.sum())
    bounds = clopper_pearson(count, len(labels))
    passes = result.forwards + result.gradients + result.elsewhere
    return Point(at, count / len(labels), bounds, passes, len(labels), attack.name)
