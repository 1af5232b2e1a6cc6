"""All indicators of one model under one threat."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import BATCH, Indicator
from reinforced.diagnostics.indicators.calibration import Calibration, calibration
from reinforced.diagnostics.indicators.curvature import curvature
from reinforced.diagnostics.indicators.dynamic import along_path
from reinforced.diagnostics.indicators.entropy import EntropyTable, entropy_table
from reinforced.diagnostics.indicators.gradient_cosine import gradient_cosine
from reinforced.diagnostics.indicators.gradient_norm import gradient_norm
from reinforced.diagnostics.indicators.local_linearity import local_linearity
from reinforced.diagnostics.indicators.logit_margin import logit_margin
from reinforced.diagnostics.indicators.logit_scale import logit_scale
from reinforced.diagnostics.indicators.saturation import saturation

BY_STEP = "by_step"
FIGURES: dict[str, tuple[str, ...]] = {
    "gradient_norm(ce)": ("floored",),
    "gradient_norm(margin)": (),
    "gradient_cosine(ce)": (),
    "local_linearity(ce)": (),
    "curvature(ce)": (),
    "logit_margin": (),
    "logit_scale": (),
    "saturation": ("certain_in_float32",),
    "path_norm": (BY_STEP,),
    "path_cosine": (BY_STEP,),
    "path_signs": (BY_STEP,),
    "path_variance": (),
    "batch_variance": (BY_STEP, "of_mean_direction"),
    "path_progress": (BY_STEP, "rising_steps"),
}
"""Every indicator by name, and the figures it has beside ``SUMMARY``."""
RANGES: dict[str, tuple[float, float]] = {
    "gradient_norm(ce)": (0.0, math.inf),
    "gradient_norm(margin)": (0.0, math.inf),
    "gradient_cosine(ce)": (-1.0, 1.0),
    "local_linearity(ce)": (0.0, math.inf),
    "logit_scale": (0.0, math.inf),
    "saturation": (0.0, math.inf),
    "path_norm": (0.0, math.inf),
    "path_cosine": (-1.0, 1.0),
    "path_signs": (0.0, 1.0),
    "path_variance": (0.0, 2.0),
    "batch_variance": (0.0, 1.0),
    "floored": (0.0, 1.0),
    "certain_in_float32": (0.0, 1.0),
    "of_mean_direction": (0.0, 2.0),
    "rising_steps": (0.0, 1.0),
}
"""What an indicator, or a figure beside it, lies between by definition; others may be anything."""


@dataclass(frozen=True)
class Mechanism:
    """Every indicator of a model; ``adversarial`` (N, C, H, W) is where the PGD path ended."""

    indicators: tuple[Indicator, ...]
    entropy: EntropyTable
    calibration: dict[str, Calibration]
    adversarial: Tensor

    def record(self) -> dict[str, Any]:
        """Plain values for a JSON file; the values of each image are left out."""
        return {
            "indicators": {each.name: _record(each) for each in self.indicators},
            "entropy": self.entropy.rows(),
            "calibration": {name: asdict(each) for name, each in self.calibration.items()},
        }

    def values(self) -> dict[str, Tensor]:
        """The values of each image, by indicator; ``entropy`` and ``right`` are (2, N), clean first."""
        found = {each.name: each.values for each in self.indicators}
        return {**found, "entropy": self.entropy.bits, "right": self.entropy.right}


def measure(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    steps: int = 20,
    seed: int = 0,
    batch: int = BATCH,
    told: Callable[[str], None] = lambda _: None,
) -> Mechanism:
    """Static indicators at the images, dynamic ones along a PGD path, entropy and calibration at both ends.

    Args:
        model: [0,1] images (N, C, H, W) -> logits (N, K), in any mode; afterwards as it was.
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64.
        threat: the ball that neighbours are drawn from and PGD works in.
        steps: of PGD on the cross-entropy, each 2.5 * epsilon / steps long.
        seed: of every draw.
        batch: images at a time.
        told: called with the name of what comes next.
    """
    given = (model, images, labels)
    static: dict[str, Callable[[], Indicator]] = {
        "gradient_norm(ce)": lambda: gradient_norm(*given, batch=batch),
        "gradient_norm(margin)": lambda: gradient_norm(*given, loss="margin", batch=batch),
        "gradient_cosine(ce)": lambda: gradient_cosine(*given, threat, seed=seed, batch=batch),
        "local_linearity(ce)": lambda: local_linearity(*given, threat, seed=seed, batch=batch),
        "curvature(ce)": lambda: curvature(*given, batch=batch),
        "logit_margin": lambda: logit_margin(*given, batch=batch),
        "logit_scale": lambda: logit_scale(*given, batch=batch),
        "saturation": lambda: saturation(*given, batch=batch),
    }
    indicators = []
    for name, one in static.items():
        told(name)
        indicators.append(one())
    told("PGD path")
    path = along_path(*given, threat, steps=steps, seed=seed, batch=batch)
    told("entropy, calibration")
    return Mechanism(
        (*indicators, *path.indicators),
        entropy_table(model, images, path.images, labels, batch=batch),
        {
            "clean": calibration(*given, batch=batch),
            "adversarial": calibration(model, path.images, labels, batch=batch),
        },
        path.images,
    )


def _record(indicator: Indicator) -> dict[str, Any]:
    steps = {}
    if indicator.axes[0] == "step":
        rows = indicator.values if indicator.values.ndim == 2 else indicator.values[:, None]
        means = torch.nanmean(rows, dim=1).tolist() if len(rows) else []
        steps = {BY_STEP: [None if mean != mean else mean for mean in means]}  # noqa: PLR0124 - NaN
    return {
        "unit": indicator.unit,
        "axes": list(indicator.axes),
        "shape": list(indicator.values.shape),
        "note": indicator.note,
        "forwards": indicator.forwards,
        "gradients": indicator.gradients,
        **indicator.summary,
        **steps,
    }
