"""The attack protocol, and the sealed runner: attacks propose, only the runner scores."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from reinforced.attacks.checks import check_inputs, check_logits
from reinforced.attacks.seal import Meter, device_of, sealed, seed_global
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.component import Component
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

CHUNK = 64
"""Images a chunk on a CPU. Random streams belong to chunks, so another size is another measurement."""
_ON_GPU = 256
_SMALL = 3 * 32 * 32


@dataclass(frozen=True)
class Batch:
    """``images`` (N, C, H, W) float32 in [0,1] and their true ``labels`` (N,) int64, on one device."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Flag:
    """A doubt that an attack has about its own result on one chunk.

    Args:
        kind: what is doubted, short and stable; of each kind a chunk has at most one.
        message: one line that says what was seen and what to do.
        images: how many images of the chunk it is about; ``None`` where it is about the model.
    """

    kind: str
    message: str
    images: int | None = None


@dataclass(frozen=True)
class AttackOutput:
    """What an attack proposes.

    Args:
        images: (N, C, H, W), the best candidate for each image; the runner projects it.
        trace: (T, N), the attack's own loss at each of its T iterates, where it has iterates.
        unprojected: (N,), a minimum-norm attack's own distance before projection, pixel units; infinite
            where it found nothing.
        elsewhere: passes spent on other models, in images.
        flags: the attack's own doubts.
    """

    images: Tensor
    trace: Tensor | None = None
    unprojected: Tensor | None = None
    elsewhere: int = 0
    flags: tuple[Flag, ...] = ()


Access = Literal["gradients", "scores", "labels", "none"]
"""What an attack asks of the model: input gradients, the logits, the predicted class, or nothing."""


class Attack(Protocol):
    """Proposes adversarial images; never grades itself."""

    @property
    def name(self) -> str:
        """The attack's name in records; with the chunk's number it names the random stream."""

    @property
    def norms(self) -> Collection[Norm]:
        """The threat norms that the attack can work in."""

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """One candidate for each image of ``batch``, all of which the model classifies rightly.

        Called with gradients on, ``model`` in eval mode and its weights frozen. Draws come from
        ``stream``, on the CPU whatever the model's device, so that devices start alike.
        """


class AttackSettings(Component):
    """Base of the attacks that are chosen by name: their fields are their options.

    A subclass carries a literal ``kind`` and defaults from its paper.
    """

    norms: ClassVar[tuple[Norm, ...]] = NORMS
    access: ClassVar[Access] = "gradients"

    @abstractmethod
    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`Attack`."""

    def suited(self, draws: int) -> Self:  # noqa: ARG002
        """The attack as it is run where ``draws`` predictions score an image; 1 of a deterministic model."""
        return self

    @property
    def cost(self) -> int:
        """About how many passes an image takes: evaluations run the cheap attacks first."""
        counts = (getattr(self, name, 1) for name in ("steps", "queries", "samples", "restarts", "eot"))
        targets = getattr(self, "target_classes", 1) if getattr(self, "targeted", False) else 1
        return targets * math.prod(counts)

    @property
    def name(self) -> str:
        """``kind``, with the options that differ from the defaults: ``pgd(steps=100,loss=margin)``."""
        chosen = {
            name: getattr(self, name)
            for name, field in type(self).model_fields.items()
            if name != "kind" and getattr(self, name) != field.default
        }
        kind = str(type(self).model_fields["kind"].default)
        options = ",".join(f"{name}={_written(value)}" for name, value in chosen.items())
        return f"{kind}({options})" if options else kind


def _written(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class AttackResult:
    """The runner's own findings, per image, on the device of the images it was given.

    Args:
        clean_correct: (N,) bool, classified rightly before the attack.
        robust: (N,) bool, classified rightly before and after: a subset of ``clean_correct``.
        images: (N, C, H, W) float32, the projected candidates; untouched where not ``clean_correct``.
        distances: (N,) from the original, in the threat's norm, pixel units.
        attacked: (N,) bool, the images that the attack was let loose on.
        unprojected: (N,), see :class:`AttackOutput`; not-a-number where there is none.
        forwards: the attack's forward passes, in images; the runner's own are not among them.
        gradients: the attack's input gradients, in images; one costs as much as a forward pass.
        elsewhere: passes on other models (surrogates), in images.
        predictions: the runner's own forward passes, before and after the attack, in images.
        flags: the attack's doubts, one a kind over all chunks.
        seconds: wall-clock time of the whole run.
    """

    clean_correct: Tensor
    robust: Tensor
    images: Tensor
    distances: Tensor
    attacked: Tensor
    unprojected: Tensor
    forwards: int
    gradients: int
    elsewhere: int
    predictions: int
    flags: tuple[Flag, ...]
    seconds: float

    @property
    def passes(self) -> int:
        """All that the run took, in images."""
        return self.forwards + self.gradients + self.elsewhere + self.predictions


def chunk_size(asked: int | None, images: Tensor, device: torch.device) -> int:
    """How many of ``images`` (N, C, H, W) a chunk has: as many as ``asked``, else what suits the device.

    64 on a CPU. On a GPU, which 64 small images leave idle, 256 of up to 32 x 32 in colour; of larger ones
    as many as have as many pixels, but at least 64.

    Raises:
        ReinforcedError: fewer than one are asked for.
    """
    if asked is not None:
        if asked < 1:
            raise ReinforcedError(f"a chunk of {asked} images: at least 1")
        return asked
    if device.type == "cpu":
        return CHUNK
    return max(CHUNK, min(_ON_GPU, _ON_GPU * _SMALL // images[0].numel()))


def run_attack(
    attack: Attack,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    *,
    seed: int,
    standing: Tensor | None = None,
    draws: int = 1,
    chunk: int | None = None,
    first_chunk: int = 0,
) -> AttackResult:
    """Attack every rightly classified image once, and score what the attack proposes.

    Chunk by chunk: predict, drop the misclassified (and those not ``standing``), let the attack propose,
    project into ``threat``, predict again. Logits that are not finite count as a wrong prediction. Model
    and global random state are afterwards as they were. Shards that start at chunk borders give the same
    bytes as the whole.

    Args:
        attack: proposes candidates, never sees its score.
        model: [0,1] images (N, C, H, W) -> logits (N, K), on any device, in any mode.
        images: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64 in [0, K).
        threat: the ball, and the norm of the distances.
        seed: with the attack's name and the chunk's number it decides every draw.
        standing: (N,) bool, attack only these; the others keep their clean outcome. ``None`` for all.
        draws: for randomised models: predictions made of each image; an image counts as rightly classified
            if more than half of them are right, so an attack succeeds with at least half of fresh draws.
        chunk: images a chunk; see :func:`chunk_size`.
        first_chunk: the number of the first chunk, for a shard: its offset divided by ``chunk``.

    Raises:
        ReinforcedError: images or labels of another form or range, a norm the attack does not know,
            logits of another shape or not finite on clean images, candidates of another shape or not finite.
    """
    if threat.norm not in attack.norms:
        known = ", ".join(sorted(attack.norms))
        raise ReinforcedError(f"attack {attack.name!r}: does not work in {threat.norm}; it knows {known}")
    check_inputs(images, labels)
    began = time.perf_counter()
    device = device_of(model)
    size = chunk_size(chunk, images, device)
    clean_correct = torch.empty(len(images), dtype=torch.bool, device=images.device)
    robust = torch.zeros_like(clean_correct)
    adversarial = images.clone()
    distances = torch.zeros(len(images), device=images.device)
    attacked = torch.zeros_like(clean_correct)
    unprojected = torch.full_like(distances, math.nan)
    elsewhere, flags = 0, list[Flag]()
    with sealed(model, device) as meter:
        for number, start in enumerate(range(0, len(images), size), first_chunk):
            rows = slice(start, start + size)
            stream = Stream(seed, f"{attack.name}/{number}")
            # For attacks and models that draw from the global stream: they too must not depend on shards.
            seed_global(stream.generator.initial_seed(), device)
            whole = Batch(images[rows].to(device), labels[rows].to(device))
            logits = _logits(meter.model, whole.images)
            check_logits(logits, whole.labels)
            right = _correct(meter.model, whole, draws, first=logits)
            clean_correct[rows] = right
            robust[rows] = right
            chosen = right if standing is None else right & standing[rows].to(device)
            kept = chosen.nonzero().squeeze(1)
            if len(kept) == 0:
                continue
            batch = Batch(whole.images[kept], whole.labels[kept])
            output = _propose(attack, meter, batch, threat, stream)
            found = output.images
            elsewhere += output.elsewhere
            flags += output.flags
            places = start + kept.to(images.device)
            attacked[places] = True
            if output.unprojected is not None:
                unprojected[places] = output.unprojected.detach().to(distances)
            robust[places] = _correct(meter.model, Batch(found, batch.labels), draws).to(images.device)
            adversarial[places] = found.to(images.device)
            distances[places] = threat.distance(found, batch.images).to(images.device)
    seconds = time.perf_counter() - began
    return AttackResult(
        clean_correct,
        robust,
        adversarial,
        distances,
        attacked,
        unprojected,
        meter.forwards,
        meter.gradients,
        elsewhere,
        draws * (len(images) + int(attacked.sum())),
        merged(flags),
        seconds,
    )


def merged(flags: Sequence[Flag]) -> tuple[Flag, ...]:
    """One flag a kind: the first's words, and the images of all where they are counted."""
    found: dict[str, Flag] = {}
    for flag in flags:
        seen = found.get(flag.kind)
        counts = [part.images for part in (seen, flag) if part is not None and part.images is not None]
        found[flag.kind] = replace(seen or flag, images=sum(counts) if counts else None)
    return tuple(found.values())


def _propose(attack: Attack, meter: Meter, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
    # A copy, so that an attack that writes into its input cannot move the centre of the ball.
    lent = Batch(batch.images.clone(), batch.labels.clone())
    with torch.enable_grad():
        output = attack.candidates(meter, lent, threat, stream)
    found = output.images.detach()
    meter.eval()  # the score must not depend on modes that the attack left on
    if found.shape != batch.images.shape:
        raise ReinforcedError(
            f"attack {attack.name!r}: returned images of shape {tuple(found.shape)}; "
            f"return one candidate an image, {tuple(batch.images.shape)}"
        )
    if not found.isfinite().all():
        raise ReinforcedError(
            f"attack {attack.name!r}: returned pixels that are not finite; "
            "where it fails, return the clean image"
        )
    return replace(output, images=threat.project(found.to(batch.images), batch.images))


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        logits: Tensor = model(images)
    return logits


def _correct(model: nn.Module, batch: Batch, draws: int, first: Tensor | None = None) -> Tensor:
    """Which images are right in more than half of ``draws`` predictions, ``first`` being one made already."""
    right = torch.zeros_like(batch.labels)
    for draw in range(draws):
        logits = first if first is not None and draw == 0 else _logits(model, batch.images)
        right += (logits.argmax(dim=1) == batch.labels) & logits.isfinite().all(dim=1)
    return right > draws / 2
