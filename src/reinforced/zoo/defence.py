"""What a labelled defence is: how to build it, what is claimed of it, and which verdicts would be right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from reinforced.attacks.threat import DIGITS, ThreatModel
from reinforced.diagnostics.findings import Certificate, Claim
from reinforced.diagnostics.verdict import Label
from reinforced.zoo.bases import Bases

Part = Literal["set", "held out"]

NONE: frozenset[Label] = frozenset({"masked", "not-robust"})
"""No robustness: which of the two depends on whether the claimed attack was fooled, as the base decides."""
LESS: frozenset[Label] = frozenset({"masked", "overstated"})
"""Robustness that is surely less than claimed: how much less, the base decides."""
REAL: frozenset[Label] = frozenset({"genuine"})


@dataclass(frozen=True)
class Smoothing:
    """The ``network`` (of bases and seed) that is smoothed, and ``sigma`` of the noise, in pixel units."""

    network: Callable[[Bases, int], nn.Module]
    sigma: float


@dataclass(frozen=True)
class Defence:
    """A small defence with its claim, and what is known about it.

    Attributes:
        name: short; also a folder's name.
        what: one line.
        attack: the claimed attack, as written on the command line.
        right: the verdicts that are right for it.
        part: thresholds may be ``set`` looking at it, or it is ``held out`` for the report.
        build: bases and seed to a model in eval mode, [0,1] images (N, C, H, W) to logits (N, K).
        threat: of the claim.
        keeps: the defence whose predictions it keeps on every image, so that its true robustness is that
            one's own; empty if none.
        smoothing: what its certificate is about; ``None`` without one.
    """

    name: str
    what: str
    attack: str
    right: frozenset[Label]
    part: Part
    build: Callable[[Bases, int], nn.Module]
    threat: ThreatModel = DIGITS
    keeps: str = ""
    smoothing: Smoothing | None = None

    @property
    def claim(self) -> Claim:
        """The attack under the threat, whatever it leaves, with its certificate."""
        proof = None if self.smoothing is None else Certificate("smoothing", self.smoothing.sigma)
        return Claim(self.attack, self.threat, certificate=proof)
