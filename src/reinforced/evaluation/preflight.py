"""Before an evaluation: refuse what would make every number wrong, and say what the model is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackSettings
from reinforced.attacks.checks import check_inputs, check_logits
from reinforced.attacks.seal import device_of, sealed
from reinforced.errors import ReinforcedError

PROBED = 64
"""Images that the model's properties are looked for on."""
ALONE = 8
"""Images that are also predicted one by one."""
REPEATS = 10
"""Further passes over those images: a model that draws one of two networks a batch looks deterministic in
half of all pairs of passes, but in one of 2,000 cases in all of these."""
ROUNDING = 1e-5
"""Of the largest logit (of 1, where that is less): two passes that differ by less are one function. Float32
keeps 6e-8 of a sum, and a sum of thousands of terms in another order, as on a GPU, differs by some 1e-6."""


@dataclass(frozen=True)
class Note:
    """A property of the model or of the attack that a reader of the numbers must know.

    Attributes:
        name: short and stable: ``randomised``, ``no-gradients``, ``probabilities``, ``labels-only``, ...
        message: one line.
        blocks: kinds of access that attacks may not assume of this model.
    """

    name: str
    message: str
    blocks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preflight:
    """What was found out about a model: its clean logits' width, and notes."""

    classes: int
    notes: tuple[Note, ...]

    @property
    def randomised(self) -> bool:
        """Whether passes over the same images differ by more than rounding."""
        return any(note.name == "randomised" for note in self.notes)

    def blocks(self, access: str) -> str:
        """Why attacks that need this access cannot be run; empty where they can."""
        return next((note.message for note in self.notes if access in note.blocks), "")


def preflight(
    model: nn.Module, images: Tensor, labels: Tensor, attacks: Sequence[AttackSettings]
) -> Preflight:
    """Check model and data together, on up to 64 images.

    Raises:
        ReinforcedError: images outside [0,1] or that look normalised, a model of which any module is in
            train mode, on several devices, or with other outputs than (N, K) logits, labels outside them, or
            an attack that assumes what the model does not give.
    """
    check_inputs(images, labels)
    _check_modes(model)
    devices = {str(tensor.device) for tensor in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        raise ReinforcedError(f"model lies on {', '.join(sorted(devices))}; move all of it to one device")
    device = device_of(model)
    probe, truth = images[:PROBED].to(device), labels[:PROBED].to(device)
    with sealed(model, device) as meter:
        with torch.no_grad():
            logits = meter(probe)
            pairs = [(logits, meter(probe))]
            few = meter(probe[:ALONE])
            pairs += [(few, meter(probe[:ALONE])) for _ in range(REPEATS)]
        check_logits(logits, truth)
        notes = [_randomised(pairs) or _batch_dependent(meter, probe, logits)]
        gradients = _has_gradients(meter, probe)
    notes += _notes(logits, truth, has_gradients=gradients)
    found = Preflight(logits.shape[1], tuple(note for note in notes if note is not None))
    for note in found.notes:
        for attack in attacks:
            if attack.access in note.blocks:
                raise ReinforcedError(
                    f"attack {attack.name}: needs the model's {attack.access}, but {note.message}; choose "
                    f"attacks that need less (square, hopskipjump, rays)"
                )
    return found


def _check_modes(model: nn.Module) -> None:
    """Refuse a module in train mode: attacks run in eval mode, which would be another model."""
    for name, module in model.named_modules():
        if module.training:
            where = f"{name} ({type(module).__name__})" if name else "model"
            raise ReinforcedError(
                f"{where} is in train mode: dropout and batch norm would change every number; call "
                "model.eval(); randomness that belongs to the defence goes into forward, as "
                "F.dropout(x, p, training=True)"
            )


def _randomised(pairs: Sequence[tuple[Tensor, Tensor]]) -> Note | None:
    if all(_alike(logits, again) for logits, again in pairs):
        return None
    return Note("randomised", "the model is randomised: it is scored over repeated draws (half of 100)")


def _alike(logits: Tensor, again: Tensor) -> bool:
    largest = max(1.0, float(logits.abs().max()))
    alike = ((logits - again).abs() <= ROUNDING * largest).all()  # not-a-number is not alike
    return bool(alike) and torch.equal(logits.argmax(1), again.argmax(1))


def _batch_dependent(model: nn.Module, probe: Tensor, logits: Tensor) -> Note | None:
    beside = logits[:ALONE].argmax(1)
    try:
        with torch.no_grad():
            alone = torch.cat([model(image).argmax(1) for image in probe[:ALONE, None]])
    except (RuntimeError, ValueError) as error:  # batch norm without statistics refuses a single image
        return Note(
            "batch-dependent", f"it cannot predict an image alone: {str(error).partition(chr(10))[0]}"
        )
    turned = int((alone != beside).sum())
    if not turned:
        return None
    return Note(
        "batch-dependent",
        f"{turned} of {len(alone)} images get another class alone than beside others: every number depends "
        "on the batches",
    )


def _has_gradients(model: nn.Module, probe: Tensor) -> bool:
    leaf = probe[:2].clone().requires_grad_()
    with torch.enable_grad():
        logits = model(leaf)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.sum(), leaf, allow_unused=True)
    return gradient is not None


def _notes(logits: Tensor, labels: Tensor, *, has_gradients: bool) -> list[Note]:
    notes = []
    if not has_gradients:
        notes.append(Note("no-gradients", "its outputs carry no gradient to the images", ("gradients",)))
    one_hot = ((logits == 0) | (logits == 1)).all() and (logits.sum(1) == 1).all()
    if bool(one_hot):
        notes.append(
            Note("labels-only", "its outputs are one-hot labels, not scores", ("gradients", "scores"))
        )
    elif bool((logits >= 0).all()) and torch.allclose(
        logits.sum(1), torch.ones_like(logits[:, 0]), atol=1e-4
    ):
        notes.append(
            Note(
                "probabilities",
                "outputs look like probabilities: cross-entropy of them saturates; give logits",
            )
        )
    accuracy = float((logits.argmax(1) == labels).float().mean())
    if accuracy < 1.5 / logits.shape[1]:
        notes.append(
            Note(
                "chance", f"clean accuracy {accuracy:.0%} is near chance: other class order or normalisation?"
            )
        )
    return notes
