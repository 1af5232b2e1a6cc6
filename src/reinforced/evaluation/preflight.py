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
        """Whether two passes over the same images differ."""
        return any(note.name == "randomised" for note in self.notes)


def preflight(
    model: nn.Module, images: Tensor, labels: Tensor, attacks: Sequence[AttackSettings]
) -> Preflight:
    """Check model and data together, on up to 64 images.

    Raises:
        ReinforcedError: images outside [0,1] or that look normalised, a model in train mode, on several
            devices, or with other outputs than (N, K) logits, labels outside them, or an attack that
            assumes what the model does not give.
    """
    check_inputs(images, labels)
    if model.training:
        raise ReinforcedError(
            "model is in train mode: dropout and batch norm would change every number; call model.eval()"
        )
    devices = {str(tensor.device) for tensor in (*model.parameters(), *model.buffers())}
    if len(devices) > 1:
        raise ReinforcedError(f"model lies on {', '.join(sorted(devices))}; move all of it to one device")
    device = device_of(model)
    probe, truth = images[:PROBED].to(device), labels[:PROBED].to(device)
    with sealed(model, device) as meter:
        with torch.no_grad():
            logits = meter(probe)
            again = meter(probe)
        check_logits(logits, truth)
        gradients = _has_gradients(meter, probe)
    found = Preflight(logits.shape[1], tuple(_notes(logits, again, truth, has_gradients=gradients)))
    for note in found.notes:
        for attack in attacks:
            if attack.access in note.blocks:
                raise ReinforcedError(
                    f"attack {attack.name}: needs the model's {attack.access}, but {note.message}; choose "
                    f"attacks that need less (square, hopskipjump, rays)"
                )
    return found


def _has_gradients(model: nn.Module, probe: Tensor) -> bool:
    leaf = probe[:2].clone().requires_grad_()
    with torch.enable_grad():
        logits = model(leaf)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.sum(), leaf, allow_unused=True)
    return gradient is not None


def _notes(logits: Tensor, again: Tensor, labels: Tensor, *, has_gradients: bool) -> list[Note]:
    notes = []
    if not torch.equal(logits, again):
        notes.append(
            Note("randomised", "the model is randomised: it is scored over repeated draws (half of 100)")
        )
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
