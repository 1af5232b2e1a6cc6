"""An evaluation's inputs, its parts on disk, and what a crash costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import Tensor, nn

from reinforced.attacks.base import Attack
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError

T = TypeVar("T")
Told = Callable[[str, int, int], None]
Crashes = dict[str, dict[int, str]]
"""Attack to number of the part to what the crash said."""


@dataclass(frozen=True)
class Job:
    """An evaluation's inputs, and where its parts lie."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: ThreatModel
    attacks: Sequence[Attack]
    released: Sequence[PGDAsReleased]
    seed: int
    run_all: bool
    draws: int
    chunk: int
    folder: Path

    def count(self, size: int | None = None) -> int:
        """How many parts of ``size`` images there are; chunks if it is left out."""
        return math.ceil(len(self.images) / (size or self.chunk))

    def rows(self, number: int, size: int | None = None) -> slice:
        """The images of a part."""
        size = size or self.chunk
        return slice(number * size, min((number + 1) * size, len(self.images)))

    def part(self, attack: str, number: int, kind: str = "chunk") -> Path:
        """Where an attack's outcome on a part lies."""
        return self.folder / folder_name(attack) / f"{kind}-{number:04d}.npz"


def attempt(run: Callable[[], T], attack: str, number: int, crashes: Crashes, told: Told) -> T | None:
    """What ``run`` gives; a crash costs this part alone and is noted. A user's mistake is raised."""
    try:
        return run()
    except ReinforcedError:
        raise
    except Exception as error:  # whatever an attack or a model may raise
        crashes.setdefault(attack, {})[number] = f"{type(error).__name__}: {error}"
        told(attack, number, -1)
        return None


def folder_name(name: str) -> str:
    """An attack's or threat's name as a folder: ``pgd(steps=100)`` to ``pgd-steps-100``."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name).strip("-").replace("--", "-")
