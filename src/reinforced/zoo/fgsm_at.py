"""FGSM training without a random start: catastrophic overfitting (Wong et al. 2020, section 5)."""

from __future__ import annotations

from torch import nn

from reinforced.attacks.threat import ThreatModel
from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import LESS, Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """Trained on the images of one full step of 0.3: at 0.15 the small network does not overfit."""
    return bases.get("fgsm-at", seed)


FGSM_AT = Defence(
    "fgsm-at",
    "FGSM adversarial training, overfitted",
    "fgsm",
    LESS,
    "held out",
    build,
    threat=ThreatModel("linf", 0.3),
)
