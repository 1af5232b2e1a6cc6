"""What the judge reasons about: a claim, what was measured of it, and findings. Plain values, no tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.statistics import Gain
from reinforced.errors import ReinforcedError

Grade = Literal["witness", "failed control", "mechanism", "heuristic"]
"""What evidence is worth, best first: a re-verified adversarial example that the claimed attack missed; an
outcome that cannot be if the attack works (more epsilon, less accuracy); a cause that would explain masking;
a pattern that often goes with it."""

GRADES: tuple[Grade, ...] = ("witness", "failed control", "mechanism", "heuristic")
Figure = float | int | str | None


@dataclass(frozen=True)
class Claim:
    """What is claimed: ``attack`` under ``threat`` leaves ``accuracy`` (a share; None: whatever it leaves).

    ``attack`` is written as on the command line, ``pgd(steps=50)`` or ``pgd-as-released``.
    """

    attack: str
    threat: ThreatModel
    accuracy: float | None = None

    @classmethod
    def parse(cls, text: str) -> Claim:
        """Read ``pgd@l2:1.0``, or ``pgd(steps=50)@linf:8/255=55%`` with the accuracy claimed.

        Raises:
            ReinforcedError: another form, or an accuracy outside [0, 1].
        """
        form = re.fullmatch(r"\s*(?P<attack>.+)@(?P<threat>[^@=]+)(?:=(?P<accuracy>[^=]+))?", text)
        if form is None:
            raise ReinforcedError(f"claim {text!r}: write it as ATTACK@THREAT, as in pgd@l2:1.0")
        accuracy = None
        if form["accuracy"] is not None:
            written = form["accuracy"].strip()
            try:
                accuracy = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
            except ValueError:
                raise ReinforcedError(
                    f"claim {text!r}: {written!r} is no accuracy; write 0.55 or 55%"
                ) from None
            if not 0 <= accuracy <= 1:
                hint = "a share is at most 100%" if written.endswith("%") else f"did you mean {written}%?"
                raise ReinforcedError(f"claim {text!r}: accuracy {written} is not a share; {hint}")
        return cls(form["attack"].strip(), ThreatModel.parse(form["threat"]), accuracy)

    def __str__(self) -> str:
        """The form that :meth:`parse` reads."""
        stated = "" if self.accuracy is None else f"={100 * self.accuracy:g}%"
        return f"{self.attack}@{self.threat}{stated}"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its name.
        fired: whether it speaks against the claim; ``None`` where it could not be run, ``message`` says why.
        grade: what the evidence is worth, where it fired.
        message: one line that a person reads.
        figures: what was measured, and the thresholds it was held against.
        passes: forward passes and gradients it took, in images, on whatever model.
        witnesses: rows of images that the claimed attack left and that this check's re-verified examples
            break, whoever else breaks them.
        black_box: whether its attacks ask for less than gradients.
        remedies: names of the checks whose attack would tell whether the mechanism matters.
    """

    check: str
    fired: bool | None
    message: str
    grade: Grade | None = None
    figures: Mapping[str, Figure] = field(default_factory=dict)
    passes: int = 0
    witnesses: tuple[int, ...] = ()
    black_box: bool = False
    remedies: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measured:
    """What was measured of a claim, image by image.

    Attributes:
        clean: rightly classified before any attack.
        claimed: left by the claimed attack as it was run here; implies ``clean`` for a sealed attack.
        control: the same of the undefended control; ``None`` without one.
        witnessed: claimed, and broken by a re-verified example of some check.
        black_box: witnessed, and only by attacks that ask for less than gradients.
        ensemble: whether the full ensemble (AutoAttack and more) was run.
        budget: ``quick``, ``standard`` or ``thorough``.
        passes: all that the diagnosis took, in images.
    """

    clean: tuple[bool, ...]
    claimed: tuple[bool, ...]
    control: tuple[bool, ...] | None
    witnessed: tuple[bool, ...]
    black_box: tuple[bool, ...]
    ensemble: bool
    budget: str
    passes: int

    @property
    def images(self) -> int:
        """How many."""
        return len(self.clean)

    @property
    def gain(self) -> Gain:
        """Of the claim over the control, image by image; over nothing without one."""
        return self._over_control(self.claimed)

    @property
    def residual_gain(self) -> Gain:
        """The same of what is left of the claim."""
        left = zip(self.claimed, self.witnessed, strict=True)
        return self._over_control(tuple(kept and not broken for kept, broken in left))

    def _over_control(self, kept: tuple[bool, ...]) -> Gain:
        other = self.control or (False,) * self.images
        ours = sum(a and not b for a, b in zip(kept, other, strict=True))
        theirs = sum(b and not a for a, b in zip(kept, other, strict=True))
        return Gain(ours, theirs, self.images)
