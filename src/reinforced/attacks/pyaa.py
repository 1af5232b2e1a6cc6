"""What the attacks through pyautoattack share: the reference AutoAttack without its side effects."""

from __future__ import annotations

import re
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from pyautoattack import checks  # type: ignore[import-untyped]
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch, Flag
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

FlagKind = Literal[
    "randomised", "probabilities", "zero_gradients", "dynamic", "few_classes", "square_helped", "not_finite"
]


_HEARD: tuple[tuple[FlagKind, str, str], ...] = (
    ("randomised", "randomized defense", "predictions differ between passes; use autoattack(version=rand)"),
    ("probabilities", "probability distribution", "outputs look like probabilities; return the logits"),
    ("zero_gradients", "zero gradient", "the gradient is zero at the start of the attack; do not trust it"),
    ("dynamic", "dynamic defense", "the model computes gradients as it predicts; write an adaptive attack"),
    ("square_helped", "Square Attack has decreased", "Square broke what gradients left; suspect masked ones"),
)


@dataclass
class Ear:
    """Stands in for pyautoattack's logger: drops its progress, keeps its warnings as flags."""

    chunk: int
    flags: dict[str, Flag] = field(default_factory=dict)

    def debug(self, message: str) -> None:
        """Progress: dropped."""

    info = debug

    def warning(self, message: str) -> None:
        """A warning of ``pyautoattack/checks.py``; of several of one kind the one on most images stays."""
        if "with only" in message or "more target classes" in message:
            return  # require_classes and targets know it better: this one is wrong about 3 classes and rand
        for kind, words, meaning in _HEARD:
            if re.search(words, message):
                points = re.search(r"there are (\d+) points", message)
                share = re.search(r"accuracy of ([\d.]+)%", message)
                images = int(points[1]) if points else None
                if share:
                    images = round(float(share[1]) / 100 * self.chunk)
                self.add(Flag(kind, meaning, images))
                return
        raise RuntimeError(f"pyautoattack warns of something unknown: {message}")

    def add(self, flag: Flag) -> None:
        """Keep ``flag``, unless one of its kind on as many images is there."""
        old = self.flags.get(flag.kind)
        if old is None or (flag.images or 0) > (old.images or 0):
            self.flags[flag.kind] = flag


class Handed:
    """The model as pyautoattack gets it: dense logits of its own memory, dense finite input gradients."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.gradients_finite = torch.tensor(True)
        self.classes = 0

    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K) float32.

        Raises:
            ReinforcedError: gradients are asked for and the logits carry none.
        """
        if len(images) == 0:  # Square asks this where the last images are tied; not every model can answer
            return images.new_zeros(0, self.classes)
        images = images.contiguous()
        differentiated = images.requires_grad and torch.is_grad_enabled()
        if differentiated:
            images = images.view_as(images)
            images.register_hook(self._settle)  # type: ignore[no-untyped-call]
        logits: Tensor = self.model(images)
        if differentiated and not logits.requires_grad:
            raise ReinforcedError("model: the logits carry no gradient to the images; use square")
        self.classes = logits.shape[1]
        # A copy, since Square writes into its logits: they may be a part of the model, or of the images.
        return logits.float().clone(memory_format=torch.contiguous_format)

    def _settle(self, gradient: Tensor) -> Tensor:
        self.gradients_finite = self.gradients_finite.to(gradient.device) & gradient.isfinite().all()
        # One not-a-number would stay in the image to the end, and count as an adversarial example there.
        return gradient.contiguous().nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)


@dataclass(frozen=True)
class Lent:
    """A chunk in pyautoattack's terms: contiguous ``images`` (N, C, H, W), ``labels`` (N,), its options."""

    model: Handed
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    seed: int
    ear: Ear

    @property
    def norm(self) -> str:
        """``"Linf"`` or ``"L2"``."""
        return self.threat.norm.capitalize()

    def classes(self) -> int:
        """How many logits the model has; costs a forward pass of one image the first time."""
        if not self.model.classes:
            with torch.no_grad():
                self.model(self.images[:1])
        return self.model.classes

    def require_classes(self, least: int, what: str, instead: str) -> None:
        """Refuse models with fewer than ``least`` classes.

        Raises:
            ReinforcedError: the model has fewer.
        """
        if self.classes() < least:
            raise ReinforcedError(
                f"{what}: needs at least {least} classes for its DLR loss, and the model has "
                f"{self.classes()}; use {instead}"
            )

    def targets(self, wanted: int) -> int:
        """``wanted`` target classes, or all wrong classes where there are fewer, with a flag."""
        others = self.classes() - 1
        if wanted > others:
            message = f"targets all {others} wrong classes of the model, not {wanted}"
            self.ear.add(Flag("few_classes", message))
        return min(wanted, others)


class PyAutoAttack(AttackSettings):
    """Base of the attacks that pyautoattack carries out: a subclass only writes ``perturb``."""

    minimum_norm: ClassVar[bool] = False
    """Whether the distance of what it finds is worth recording."""

    @abstractmethod
    def perturb(self, lent: Lent) -> Tensor:
        """(N, C, H, W): adversarial images, and the clean ones where it finds none."""

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`.

        Raises:
            ReinforcedError: too few classes, too small images, or logits without gradient.
        """
        return propose(self, model, batch, threat, stream)


def propose(
    attack: PyAutoAttack, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream
) -> AttackOutput:
    """The candidates of ``attack``, with its doubts about them as flags.

    Every draw follows from the seed of ``stream``; the global random state, the tracer and pyautoattack's
    own global counters are afterwards as they were.

    Raises:
        ReinforcedError: see :meth:`PyAutoAttack.candidates`.
    """
    images = batch.images.detach().contiguous()
    if threat.epsilon == 0:
        return AttackOutput(images)
    handed, ear = Handed(model), Ear(len(images))
    with contained():
        seed = stream.generator.initial_seed()
        found = attack.perturb(Lent(handed, images.clone(), batch.labels.clone(), threat, seed, ear)).detach()
    finite = found.isfinite().flatten(1).all(dim=1)
    if not (finite.all() and handed.gradients_finite):
        lost = int((~finite).sum())
        message = "gradients or images were not finite; such steps were left out, such images are the clean"
        ear.add(Flag("not_finite", message, lost))
    found = torch.where(finite[:, None, None, None], found, images)
    output = AttackOutput(found)
    if attack.minimum_norm:
        distance = threat.distance(found, images)
        output = replace(output, unprojected=torch.where(distance > 0, distance, torch.inf))
    return replace(output, flags=tuple(ear.flags.values()))


@contextmanager
def contained() -> Iterator[None]:
    """Undo what pyautoattack does to the process.

    It seeds the global generators of all devices, replaces the tracer and then removes it, and counts the
    gradients that models take as they predict in one dictionary that nothing ever clears.
    """
    tracer: Callable[..., object] | None = sys.gettrace()
    counted = dict(checks.funcs)
    devices = list(range(torch.cuda.device_count())) if _cuda_in_use() else []
    with torch.random.fork_rng(devices=devices):
        try:
            checks.funcs.update(dict.fromkeys(counted, 0))
            yield
        finally:
            checks.funcs.update(counted)
            sys.settrace(tracer)  # type: ignore[arg-type]


def _cuda_in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
