"""What the attacks that look for the nearest adversarial image share: foolbox, wrapped; starts; the record.

foolbox 3.3.4 (Rauber et al. 2020, JOSS 5(53), 2607) is imported when an attack first needs it.
"""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, Batch, Flag
from reinforced.attacks.checks import check_inputs
from reinforced.attacks.seal import seed_global
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

BEYOND = 1e-3
"""A minimum-norm image lies on the last bit of the decision boundary, where another batch size may decide
otherwise: it is moved this part of its distance further on, where it is still adversarial there."""
BLENDS = 50
"""Points tried between an image and its adversarial noise (foolbox's own default for these attacks)."""

_DOUBTS = {
    "no_start": "no noise image was misclassified, so the attack never began; raise start_draws",
    "nothing_found": "found no adversarial image at any distance; do not take this for robustness",
}


def foolbox(module: str = "foolbox.attacks") -> Any:
    """A module of foolbox, whose import warns (it takes ``gaussian_filter`` from a place scipy gives up)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return importlib.import_module(module)


def minimise(
    attack: Any,
    name: str,
    model: nn.Module,
    batch: Batch,
    stream: Stream,
    *,
    starts: Tensor | None = None,
    scaled_gradients: bool = False,
) -> Tensor:
    """Run a foolbox ``MinimizationAttack`` on ``batch``, (N, C, H, W) -> the same, not yet to be trusted.

    foolbox draws from torch's and numpy's global streams: both are seeded from ``stream`` and put back.

    Args:
        attack: the foolbox attack.
        name: ours, for errors.
        model: [0,1] images -> logits, in eval mode.
        batch: N images and their labels.
        stream: decides every draw.
        starts: (N, C, H, W), all of them adversarial, for attacks that start from such images.
        scaled_gradients: see :class:`_Lent`; for attacks that use a gradient's direction only.

    Raises:
        ReinforcedError: images outside [0,1]; no gradient where one is needed; a model whose predictions of
            the same images change from call to call.
    """
    check_inputs(batch.images, batch.labels)
    device = batch.images.device
    options = {} if starts is None else {"starting_points": starts}
    # The device is named because foolbox otherwise moves the model to the first GPU.
    lent = foolbox("foolbox").PyTorchModel(_Lent(name, model, scaled_gradients), (0, 1), device=device)
    with _global_streams(stream, device):
        try:
            found: Tensor = attack.run(lent, batch.images, batch.labels, **options)
        except (AssertionError, ValueError) as error:
            if isinstance(error, ValueError) and "starting_points" not in str(error):
                raise  # the model's own
            raise ReinforcedError(
                f"attack {name!r}: foolbox failed a check of its own ({str(error) or 'assertion'}); "
                "the model's predictions of the same images must not change from call to call"
            ) from error
    return found.detach()


class _Lent(nn.Module):
    """The model as foolbox gets it, in eval mode in name; the model itself keeps its mode.

    Args:
        name: the attack's, for errors.
        model: images -> logits.
        scaled: logits in float64 and their gradient divided by its largest entry, image by image. A confident
            model's cross-entropy gradient is else inexact above a margin of 16 and zero above about 50, where
            its square underflows. Its direction, all that the attack uses, is the same.
    """

    def __init__(self, name: str, model: nn.Module, scaled: bool) -> None:
        super().__init__()
        self.name, self.model, self.scaled = name, model, scaled
        self.training = False

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, K)."""
        logits: Tensor = self.model(images).float()
        if images.requires_grad and not logits.requires_grad:
            raise ReinforcedError(
                f"attack {self.name!r}: the model's logits carry no gradient to the images; "
                "use a black-box attack"
            )
        if self.scaled and logits.requires_grad:
            logits = logits.double()
            logits.register_hook(_scaled)  # type: ignore[no-untyped-call]
        return logits


def _scaled(gradient: Tensor) -> Tensor:
    largest = gradient.abs().amax(dim=1, keepdim=True)
    return torch.where(largest > 0, gradient / largest, 0.0)


@contextmanager
def _global_streams(stream: Stream, device: torch.device) -> Iterator[None]:
    seed = int(torch.randint(2**31, (), generator=stream.generator))
    before = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seed_global(seed, device)
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


@torch.no_grad()
def starting_points(model: nn.Module, batch: Batch, stream: Stream, draws: int) -> tuple[Tensor, Tensor]:
    """An adversarial image for each of ``batch``, where one is found: noise, then the nearest of its blends.

    Noise is uniform in [0,1], over pixels at the first draw (the papers' start), then over blocks of 2 x 2,
    4 x 4, ... up to the whole image, and again: a network often gives all fine noise one class, and then
    images of that class would have no start. Costs at most ``draws + 49`` queries an image, and uses
    predicted classes alone.

    Returns:
        (N, C, H, W), the image itself where nothing is found, and (N,) bool, where something is.
    """
    images, labels = batch.images, batch.labels
    levels = 1 + math.ceil(math.log2(max(images.shape[2:])))
    noise = images.clone()
    found = torch.zeros_like(labels, dtype=torch.bool)
    for draw in range(draws):
        left = (~found).nonzero().squeeze(1)
        if len(left) == 0:
            break
        drawn = _blocks(stream, images[left], 2 ** (draw % levels))
        fooled = model(drawn).argmax(dim=1) != labels[left]
        noise[left[fooled]] = drawn[fooled]
        found[left[fooled]] = True
    starts = noise.clone()
    left = found.nonzero().squeeze(1)
    for blend in range(1, BLENDS):
        if len(left) == 0:
            break
        share = blend / BLENDS
        mixed = (1 - share) * images[left] + share * noise[left]
        fooled = model(mixed).argmax(dim=1) != labels[left]
        starts[left[fooled]] = mixed[fooled]
        left = left[~fooled]
    return starts, found


def _blocks(stream: Stream, images: Tensor, size: int) -> Tensor:
    count, channels, height, width = images.shape
    coarse = stream.uniform(count, channels, math.ceil(height / size), math.ceil(width / size))
    fine = F.interpolate(coarse, scale_factor=size, mode="nearest")
    return fine[:, :, :height, :width].to(images)


def from_starts(
    attack: Any,
    name: str,
    model: nn.Module,
    batch: Batch,
    threat: ThreatModel,
    stream: Stream,
    *,
    draws: int,
    together: int | None = None,
) -> AttackOutput:
    """Run a foolbox attack that needs adversarial starts, on the images that have one.

    foolbox loses the whole batch when one start fails. Here an image without a start comes back as it was,
    its distance infinite, and is counted in the flag ``no_start``.

    Args:
        attack, name, model, batch, stream: as in :func:`minimise`.
        threat: its norm is that of the recorded distance.
        draws: noise images tried for each image.
        together: at most so many images at a time, where the attack needs much memory.
    """
    check_inputs(batch.images, batch.labels)
    starts, found = starting_points(model, batch, stream, draws)
    whole = found.nonzero().squeeze(1)
    size = together or len(found)
    for begin in range(0, len(whole), size):
        rows = whole[begin : begin + size]
        part = Batch(batch.images[rows], batch.labels[rows])
        starts[rows] = minimise(attack, name, model, part, stream, starts=starts[rows])
    return settled(model, batch, threat, starts, started=found)


@torch.no_grad()
def settled(
    model: nn.Module, batch: Batch, threat: ThreatModel, found: Tensor, *, started: Tensor | None = None
) -> AttackOutput:
    """``found`` (N, C, H, W) where it is adversarial, moved on by :data:`BEYOND` where it still is then.

    Where it is not, the clean image with infinite ``unprojected``: counted in the flag ``no_start`` where
    ``started`` (N,) bool is given and false, in ``nothing_found`` elsewhere. Costs two queries an image.
    """
    clean = batch.images
    usable = found.isfinite().all(dim=3).all(dim=2).all(dim=1)
    found = torch.where(usable[:, None, None, None], found, clean)
    best, distance = clean, torch.full_like(batch.labels, math.inf, dtype=clean.dtype)
    for candidate in (found, (clean + (1 + BEYOND) * (found - clean)).clamp(0, 1)):
        fooled = model(candidate).argmax(dim=1) != batch.labels
        best = torch.where(fooled[:, None, None, None], candidate, best)
        distance = torch.where(fooled, threat.distance(candidate, clean), distance)
    return AttackOutput(best, unprojected=distance, flags=_doubts(distance.isinf(), started))


def _doubts(missed: Tensor, started: Tensor | None) -> tuple[Flag, ...]:
    """Why ``missed`` (N,) bool were not broken: an attack that failed at any distance says nothing."""
    startless = torch.zeros_like(missed) if started is None else missed & ~started
    counts = {"no_start": int(startless.sum()), "nothing_found": int((missed & ~startless).sum())}
    return tuple(Flag(kind, _DOUBTS[kind], count) for kind, count in counts.items() if count)
