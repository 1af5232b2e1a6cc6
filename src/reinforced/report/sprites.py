"""Images for the page: clean ones and magnified perturbations, many in one PNG, within a budget of bytes."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reinforced.report.evaluations import EvaluationRecord
from reinforced.report.figure import plain
from reinforced.report.reading import Array, Reader, text
from reinforced.report.records import RunRecord

VALUES = 12_000_000
"""Pixel values (of a channel) in all sprites of a report: at most about as many bytes."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """Images (K, H, W, C) side by side in a data URI; ``columns`` a row."""

    uri: str
    columns: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"uri": self.uri, "columns": self.columns}


class Sprites:
    """Makes the sheets of a report; the same clean images are kept once.

    Attributes:
        clean: key -> sheet.
    """

    def __init__(self, evaluations: Sequence[EvaluationRecord]) -> None:
        self.clean: dict[str, Sheet] = {}
        shown = [one for one in evaluations if one.pictures is not None]
        self._share = VALUES // max(1, sum(1 + len(one.attacks) for one in shown))

    def of(self, run: RunRecord, one: EvaluationRecord) -> dict[str, Any] | None:
        """The sheets of an evaluation's first images, and what the model said of them; ``None`` without."""
        if one.pictures is None:
            return None
        shape = one.pictures.clean.shape
        count = min(shape[0], self._share // max(1, math.prod(shape[1:])))
        if not count or shape[1] not in (1, 3):
            return None
        clean = one.pictures.clean[:count]
        key = f"{text(one.setup, 'data_sha256')}-{count}"
        if key not in self.clean:
            self.clean[key] = sheet(clean.transpose(0, 2, 3, 1))
        attacks = {
            plain(attack.name): self._perturbations(run, one, attack.name, clean) for attack in one.attacks
        }
        return {
            "clean": key,
            "count": count,
            "size": list(shape[2:]),
            "attacks": {name: found for name, found in attacks.items() if found is not None},
            "predicted": {
                plain(name): _whole(values[:count]) for name, values in one.pictures.predicted.items()
            },
            "confidence": {
                plain(name): _rounded(values[:count]) for name, values in one.pictures.confidence.items()
            },
        }

    def _perturbations(
        self, run: RunRecord, one: EvaluationRecord, attack: str, clean: NDArray[np.uint8]
    ) -> dict[str, Any] | None:
        """Perturbations, each scaled so that its largest entry is full; ``rows`` says whose they are."""
        rows, scales, deltas = [], [], []
        for row, image in one.examples(attack, Reader(run.path)):
            if row >= len(clean):
                break
            if image.shape != clean.shape[1:]:
                continue
            delta = image.astype(np.float64) - clean[row] / 255
            scale = float(np.abs(delta).max())
            rows.append(row)
            scales.append(round(scale, 5))
            deltas.append(np.round(127.5 + 127.5 * delta / (scale or 1)))
        if not rows:
            return None
        images = np.stack(deltas).astype(np.uint8).transpose(0, 2, 3, 1)
        return {**sheet(images).to_json(), "rows": rows, "scales": scales}


def sheet(images: Array) -> Sheet:
    """(K, H, W, C) uint8, one or three channels, as one PNG that is about square."""
    from PIL import Image  # noqa: PLC0415 - only pictures need it

    count, height, width, channels = images.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    padded = np.zeros((rows * columns, height, width, channels), np.uint8)
    padded[:count] = images
    tiles = padded.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = np.ascontiguousarray(tiles.reshape(rows * height, columns * width, channels))
    file = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(file, "PNG")
    return Sheet("data:image/png;base64," + base64.b64encode(file.getvalue()).decode(), columns)


def _whole(values: Array) -> list[int]:
    return [int(value) if math.isfinite(value) else -1 for value in values.tolist()]


def _rounded(values: Array) -> list[float | None]:
    return [round(value, 4) if math.isfinite(value) else None for value in values.tolist()]
