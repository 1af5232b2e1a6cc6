"""Clean image, magnified perturbation, adversarial image, side by side with labels and confidences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from reinforced.files import atomic

if TYPE_CHECKING:
    from PIL import Image

CELL = 128
CAPTION = 16


@torch.no_grad()
def gallery(
    path: Path, model: nn.Module, clean: Tensor, adversarial: Tensor, labels: Tensor, classes: Sequence[str]
) -> None:
    """Write a PNG with a row an image.

    Args:
        path: the picture.
        model: whose predictions are shown.
        clean, adversarial: (N, C, H, W) float32 in [0,1].
        labels: (N,) int64.
        classes: names of the classes.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415 - only pictures need it

    sheet = Image.new("RGB", (3 * CELL, len(clean) * (CELL + CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    before, after = (torch.softmax(model(x.to(device)), 1).cpu() for x in (clean, adversarial))
    for row, (original, found) in enumerate(zip(clean, adversarial, strict=True)):
        delta = found - original
        largest = float(delta.abs().max())
        magnified = delta / (2 * largest) + 0.5 if largest else torch.full_like(delta, 0.5)
        top = row * (CELL + CAPTION)
        for column, picture in enumerate((original, magnified, found)):
            sheet.paste(_image(picture), (column * CELL, top))
        captions = (
            f"{classes[int(labels[row])]}: {_said(before[row], classes)}",
            f"x {0.5 / largest:.0f}" if largest else "no change",
            _said(after[row], classes),
        )
        for column, caption in enumerate(captions):
            draw.text((column * CELL + 2, top + CELL + 2), caption[:22], fill="black")
    with atomic(path) as temporary:
        sheet.save(temporary, format="PNG")


def _image(pixels: Tensor) -> Image.Image:
    from PIL import Image  # noqa: PLC0415

    levels = (pixels * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    picture = Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels)
    return picture.convert("RGB").resize((CELL, CELL), Image.Resampling.NEAREST)


def _said(probabilities: Tensor, classes: Sequence[str]) -> str:
    best = int(probabilities.argmax())
    return f"{classes[best]} {float(probabilities[best]):.0%}"
