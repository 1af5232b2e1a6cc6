"""What the judge reasons about: a claim, what was measured of it, and findings. Plain values, no tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.statistics import Gain
from reinforced.errors import ReinforcedError, did_you_mean

Grade = Literal["witness", "failed control", "mechanism", "heuristic"]
"""What evidence is worth, best first: a re-verified adversarial example that the claimed attack missed; an
outcome that cannot be if the attack works (more epsilon, less accuracy); a cause that would explain masking;
a pattern that often goes with it."""

GRADES: tuple[Grade, ...] = ("witness", "failed control", "mechanism", "heuristic")
Figure = float | int | str | None


@dataclass(frozen=True)
class Certificate:
    """A proof that a claim rests on: at the claim's epsilon it covers ``accuracy`` of the images.

    Attributes:
        kind: ``smoothing``, which is recomputed: randomised smoothing with Gaussian noise; ``other``, which
            is not: only its figure is held against what was broken.
        sigma: of the noise, in pixel units; ``smoothing`` alone has one.
        accuracy: a share; ``None``: whatever it covers.

    Raises:
        ReinforcedError: an unknown kind, or a sigma that is missing, not positive or not called for.
    """

    kind: Literal["smoothing", "other"]
    sigma: float | None = None
    accuracy: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("smoothing", "other"):
            raise ReinforcedError(
                f"no certificate {self.kind!r}{did_you_mean(self.kind, ('smoothing', 'other'))}"
            )
        smooth = self.sigma is not None and 0 < self.sigma < math.inf
        if not (smooth if self.kind == "smoothing" else self.sigma is None):
            raise ReinforcedError(
                f"certificate {self}: write smoothing:SIGMA with a positive sigma, or other"
            )

    @classmethod
    def parse(cls, text: str) -> Certificate:
        """Read ``smoothing:0.25``, ``smoothing:0.25=40%`` or ``other=40%``.

        Raises:
            ReinforcedError: another form.
        """
        form = re.fullmatch(r"\s*(?P<kind>[^:=]+?)\s*(?::(?P<sigma>[^=]+))?(?:=(?P<accuracy>[^=]+))?", text)
        try:
            sigma = float(form["sigma"]) if form is not None and form["sigma"] is not None else None
        except ValueError:
            form = None
        if form is None:
            raise ReinforcedError(
                f"certificate {text!r}: write it as smoothing:0.25, smoothing:0.25=40% or other"
            )
        return cls(form["kind"], sigma, _share(form["accuracy"], f"certificate {text!r}"))  # type: ignore[arg-type]  # checked there

    def __str__(self) -> str:
        """The form that :meth:`parse` reads."""
        sigma = "" if self.sigma is None else f":{self.sigma:g}"
        return f"{self.kind}{sigma}{_stated(self.accuracy)}"


@dataclass(frozen=True)
class Claim:
    """What is claimed: ``attack`` under ``threat`` leaves ``accuracy`` (a share; None: whatever it leaves).

    ``attack`` is written as on the command line, ``pgd(steps=50)`` or ``pgd-as-released``; ``certificate`` is
    the proof that comes with it, if one does.
    """

    attack: str
    threat: ThreatModel
    accuracy: float | None = None
    certificate: Certificate | None = None

    @classmethod
    def parse(cls, text: str) -> Claim:
        """Read ``pgd@l2:1.0``, or with the accuracy claimed ``pgd(steps=50)@linf:8/255=55%``.

        A certificate comes last: ``pgd@l2:0.5 certified smoothing:0.25``.

        Raises:
            ReinforcedError: another form, or an accuracy outside [0, 1].
        """
        attacked, certified, certificate = text.partition(" certified ")
        form = re.fullmatch(r"\s*(?P<attack>.+)@(?P<threat>[^@=]+)(?:=(?P<accuracy>[^=]+))?", attacked)
        if form is None:
            raise ReinforcedError(f"claim {text!r}: write it as ATTACK@THREAT, as in pgd@l2:1.0")
        return cls(
            form["attack"].strip(),
            ThreatModel.parse(form["threat"]),
            _share(form["accuracy"], f"claim {text!r}"),
            Certificate.parse(certificate) if certified else None,
        )

    def __str__(self) -> str:
        """The form that :meth:`parse` reads."""
        certified = "" if self.certificate is None else f" certified {self.certificate}"
        return f"{self.attack}@{self.threat}{_stated(self.accuracy)}{certified}"


def _share(written: str | None, where: str) -> float | None:
    """``0.55`` or ``55%`` as a share."""
    if written is None:
        return None
    written = written.strip()
    try:
        share = float(written.removesuffix("%")) / (100 if written.endswith("%") else 1)
    except ValueError:
        raise ReinforcedError(f"{where}: {written!r} is no accuracy; write 0.55 or 55%") from None
    if not 0 <= share <= 1:
        hint = "a share is at most 100%" if written.endswith("%") else f"did you mean {written}%?"
        raise ReinforcedError(f"{where}: accuracy {written} is not a share; {hint}")
    return share


def _stated(share: float | None) -> str:
    return "" if share is None else f"={100 * share:g}%"


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


SPARED = 0.1
"""Of the images, left to the control by the claimed attack and broken by PGD-100 on the margin: more says
that the attack is weak. Undefended models of two seeds differ by up to half of it under one attack."""


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
        control_left: of the control's, what PGD-100 on the margin leaves; ``None`` where it was not run.
        constant: share of the most frequent label, which an answer that never changes keeps.
        control_clean: of the control, rightly classified before any attack; ``None`` without one.
    """

    clean: tuple[bool, ...]
    claimed: tuple[bool, ...]
    control: tuple[bool, ...] | None
    witnessed: tuple[bool, ...]
    black_box: tuple[bool, ...]
    ensemble: bool
    budget: str
    passes: int
    control_left: tuple[bool, ...] | None = None
    constant: float = 0.0
    control_clean: tuple[bool, ...] | None = None

    @property
    def images(self) -> int:
        """How many."""
        return len(self.clean)

    @property
    def weak(self) -> bool:
        """Whether the claimed attack spares the undefended control: then no gain over it means anything."""
        if self.control is None or self.control_left is None:
            return False
        return sum(self.control) - sum(self.control_left) > SPARED * self.images

    @property
    def gain(self) -> Gain:
        """Of the claim over the control, image by image; over nothing without one."""
        return self._over(self.control, self.claimed)

    @property
    def residual_gain(self) -> Gain:
        """The same of what is left of the claim; of the control, too, where the claimed attack is weak."""
        left = zip(self.claimed, self.witnessed, strict=True)
        kept = tuple(stands and not broken for stands, broken in left)
        return self._over(self.control_left if self.weak else self.control, kept)

    @property
    def clean_lead(self) -> Gain | None:
        """Of the model over the control before any attack; ``None`` without one."""
        return None if self.control_clean is None else self._over(self.control_clean, self.clean)

    def _over(self, control: tuple[bool, ...] | None, kept: tuple[bool, ...]) -> Gain:
        other = control or (False,) * self.images
        ours = sum(a and not b for a, b in zip(kept, other, strict=True))
        theirs = sum(b and not a for a, b in zip(kept, other, strict=True))
        return Gain(ours, theirs, self.images)
