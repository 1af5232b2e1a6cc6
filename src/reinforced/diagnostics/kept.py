"""What a diagnosis has found so far, on disk, so that a killed one goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from reinforced.diagnostics.findings import Finding
from reinforced.evaluation.chunks import Part, digest, read_part, write_part

OUTCOME = ("clean", "claimed", "control_clean", "control", "passes")
"""What :func:`~reinforced.diagnostics.reproduction.reproduce` gives."""


@dataclass(frozen=True)
class Kept:
    """A diagnosis's folder."""

    folder: Path

    def outcome(self) -> dict[str, Tensor] | None:
        """The claimed attack's outcome, by the names of :data:`OUTCOME`, or nothing."""
        file = self.folder / "claim.npz"
        if not file.is_file():
            return None
        part = read_part(file, OUTCOME)
        return dict(part.tensors)

    def keep_outcome(self, tensors: Mapping[str, Tensor]) -> None:
        """Write it."""
        ordered = {name: tensors[name] for name in OUTCOME}
        write_part(self.folder / "claim.npz", Part(ordered, "", 0.0, digest(list(ordered.values()), "")))

    def control(self) -> tuple[Tensor, int] | None:
        """What the strong attack leaves of the control, (N,) bool, and the passes it took, or nothing."""
        file = self.folder / "control.npz"
        if not file.is_file():
            return None
        part = read_part(file, ("left", "passes"))
        return part.tensors["left"], int(part.tensors["passes"])

    def keep_control(self, left: Tensor, passes: int) -> None:
        """Write it."""
        tensors = {"left": left, "passes": torch.tensor(passes)}
        write_part(self.folder / "control.npz", Part(tensors, "", 0.0, digest(list(tensors.values()), "")))

    def finding(self, check: str) -> tuple[Finding, dict[int, Tensor]] | None:
        """A check's finding and the verified examples it was the first to find, or nothing."""
        file = self.folder / f"{check}.npz"
        if not file.is_file():
            return None
        part = read_part(file, ("rows", "images"))
        values = json.loads(part.said)
        for name in ("witnesses", "remedies"):
            values[name] = tuple(values[name])
        examples = zip(part.tensors["rows"].tolist(), part.tensors["images"], strict=True)
        return Finding(**values), dict(examples)

    def keep_finding(self, finding: Finding, examples: Mapping[int, Tensor], shape: tuple[int, ...]) -> None:
        """Write them, in one file so that they cannot part."""
        images = torch.stack(list(examples.values())) if examples else torch.zeros(0, *shape)
        tensors = {"rows": torch.tensor(list(examples), dtype=torch.int64), "images": images}
        said = json.dumps(asdict(finding))
        path = self.folder / f"{finding.check}.npz"
        write_part(path, Part(tensors, said, 0.0, digest(list(tensors.values()), said)))
