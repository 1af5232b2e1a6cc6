"""A model's answers hold a folder of results to its code, of which the hash of its weights says nothing."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from reinforced.attacks.losses import widened
from reinforced.attacks.pgd import random_start
from reinforced.attacks.seal import device_of, sealed
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.evaluation.chunks import Part, digest, read_part, write_part
from reinforced.streams import Stream

ASKED = 64
ROUNDING = 5e-4
"""Of the largest logit: what another processor may round otherwise in float32."""


def answers(model: nn.Module, images: Tensor, threat: ThreatModel) -> Tensor:
    """Logits at the first images and in their balls: code that rounds, say, changes no answer at an image."""
    device = device_of(model)
    asked = images[:ASKED].to(device)
    asked = torch.cat([asked, random_start(asked, threat, Stream(0, "answers"))])
    # Not in TF32, a GPU's default for convolutions: its 11 bits would hide a model that rounds its images.
    with (
        sealed(model, device) as meter,
        torch.no_grad(),
        torch.backends.cudnn.flags(enabled=True, allow_tf32=False),
    ):
        return widened(meter(asked)).float().cpu()


def bind_answers(folder: Path, logits: Tensor, what: str) -> None:
    """Hold a folder to a model that answers so, (N, K): keep the answers, or check them against those kept.

    Args:
        what: in messages: ``evaluation``, ``diagnosis``.

    Raises:
        ReinforcedError: what is there is of a model that answers otherwise.
    """
    file = folder / "answers.npz"
    if not file.is_file():
        write_part(file, Part({"logits": logits}, "", 0.0, digest([logits], "")))
        return
    before = read_part(file, ("logits",)).tensors["logits"]
    scale = max([1.0, *before[before.isfinite()].abs().tolist()])
    alike = before.shape == logits.shape and torch.allclose(
        before, logits, rtol=1e-3, atol=ROUNDING * scale, equal_nan=True
    )
    if not alike:
        raise ReinforcedError(
            f"{folder} holds the {what} of a model with these weights that answers otherwise: "
            "was its code changed? choose another folder"
        )
