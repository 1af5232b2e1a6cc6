"""Label smoothing: smaller logits and flatter losses, which PGD may mistake for robustness."""

from __future__ import annotations

from torch import nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import NONE, Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """A tenth of the label's mass spread over all classes (Szegedy et al. 2016)."""
    return bases.get("label-smoothed", seed)


LABEL_SMOOTHED = Defence(
    "label-smoothed", "cross-entropy, labels smoothed by 0.1", "pgd", NONE, "held out", build
)
