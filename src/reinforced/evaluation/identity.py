"""What a folder of results is about: hashes of model and images, and a setup that may not change."""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.errors import Damaged, ReinforcedError
from reinforced.files import write_json


def model_sha256(model: nn.Module) -> str:
    """Of a model's weights and buffers, by name."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        # As bytes: NumPy has no bfloat16.
        values = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(name.encode() + values.numpy().tobytes())
    return digest.hexdigest()


def data_sha256(images: Tensor, labels: Tensor) -> str:
    """Of images (N, C, H, W) and labels (N,)."""
    digest = hashlib.sha256(images.cpu().contiguous().numpy().tobytes())
    digest.update(labels.cpu().numpy().tobytes())
    return digest.hexdigest()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Write to a folder beside other processes; who comes alone removes what killed ones left half-written.

    All writers hold ``writers.lock`` together, whoever holds it alone is the only one: so nobody's file is
    removed from under its hands.

    Raises:
        ReinforcedError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "writers.lock").open("a")
    except OSError as error:
        raise ReinforcedError(f"cannot write {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pass  # others are writing
        else:
            for pattern in (".*.part", "*/.*.part"):
                for left_by_a_kill in folder.glob(pattern):
                    left_by_a_kill.unlink()
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def stored_setup(folder: Path, what: str) -> dict[str, Any] | None:
    """What decides the results that a folder holds, or ``None`` where it holds none.

    Raises:
        Damaged: the folder, of which ``setup.json`` cannot be read.
    """
    file = folder / "setup.json"
    if not file.is_file():
        return None
    try:
        there = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        there = None
    if not isinstance(there, dict):
        raise Damaged(f"{file}: damaged (not JSON); delete the folder and start the {what} again", folder)
    return there


def claim_folder(folder: Path, setup: Mapping[str, Any], what: str) -> None:
    """Write what decides the results of ``folder`` to its ``setup.json``, or check that it is the same.

    Args:
        folder: where results go.
        setup: JSON-able values.
        what: in messages: ``evaluation``, ``diagnosis``.

    Raises:
        Damaged: the folder, of which ``setup.json`` cannot be read.
        ReinforcedError: the folder holds another one.
    """
    there = stored_setup(folder, what)
    if there is None:
        write_json(folder / "setup.json", dict(setup))
        return
    differing = [key for key in setup if there.get(key) != setup[key]]
    if differing:
        how = "differs" if differing[0] in there else "is not recorded there"
        raise ReinforcedError(
            f"{folder} holds another {what} ({differing[0]} {how}); move it away, or choose another folder"
        )
