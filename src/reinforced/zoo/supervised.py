"""Plain supervised training: nothing is claimed of it that an undefended model does not have."""

from __future__ import annotations

from torch import nn

from reinforced.zoo.bases import Bases
from reinforced.zoo.defence import Defence


def build(bases: Bases, seed: int) -> nn.Module:
    """Cross-entropy on clean images."""
    return bases.get("sl", seed)


SUPERVISED = Defence("sl", "plain cross-entropy", "pgd", frozenset({"not-robust"}), "set", build)
