"""Whose weights a record is of: the hash of a run's weights, as evaluations and diagnoses have it."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import model_sha256
from reinforced.training.run import RunDirectory, load_model


def weights_sha256(run: Path, checkpoint: str) -> str | None:
    """Of ``last``, ``best`` or a kept epoch; ``None`` where there are none or they cannot be loaded."""
    try:
        stat = RunDirectory(run).weights(checkpoint).stat()
    except OSError:
        return None
    return _weights_sha256(run, checkpoint, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _weights_sha256(run: Path, checkpoint: str, changed: int, size: int) -> str | None:  # noqa: ARG001
    """Read once for as long as the file, of which time and size are given, stays the same."""
    try:
        return model_sha256(load_model(run, which=checkpoint))
    except ReinforcedError:
        return None
