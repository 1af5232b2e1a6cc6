"""Checkpoints that are torn, altered, missing, of another network, or do not fit on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from reinforced.errors import Interrupted, ReinforcedError
from reinforced.training import checkpoint
from reinforced.training.checkpoint import load_checkpoint, save_checkpoint, weights_hash
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory, load_model

Make = Callable[..., Recipe]
Fit = Callable[..., dict[str, Any]]


def hashes(run: Path) -> list[str]:
    return [weights_hash(file) for file in sorted((run / "checkpoints").glob("*.safetensors"))]


@pytest.mark.parametrize("which", ["state", "last"])
@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_checkpoints(make: Make, fit: Fit, tmp_path: Path, which: str, keep: int) -> None:
    run = tmp_path / "run"
    with pytest.raises(Interrupted):
        fit(make(), run, stop=4)
    file = run / "checkpoints" / f"{which}.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(ReinforcedError, match=r"corrupt or truncated checkpoint .*; restore it, or"):
        fit(make(), run) if which == "state" else load_model(run)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """Header, names, values and numbers: a file differs from what was written, or reads back the same."""
    path = tmp_path / "x.safetensors"
    tensors = {"weight": torch.randn(3, 2), "steps": torch.tensor(7), "flag": torch.tensor(True)}
    values = {"place": {"epoch": 3, "batch": 12}}
    save_checkpoint(path, tensors, values)
    good = path.read_bytes()
    for position in range(len(good)):
        flipped = bytearray(good)
        flipped[position] ^= 1 << (position % 8)
        path.write_bytes(flipped)
        try:
            found, place = load_checkpoint(path)
        except ReinforcedError:
            continue
        assert place == values
        assert {name: value.tolist() for name, value in found.items()} == {
            name: value.tolist() for name, value in tensors.items()
        }


def test_missing_checkpoints(make: Make, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match="is no run directory"):
        load_model(tmp_path)
    with pytest.raises(Interrupted):
        fit(make(), tmp_path / "run", stop=1)
    with pytest.raises(ReinforcedError, match="no checkpoint"):
        load_model(tmp_path / "run")


def test_weights_of_another_network(make: Make, fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        fit(make(), tmp_path / "run", stop=4)
    fit(make(model={"name": "tiny"}), tmp_path / "other")
    for name in ("state", "last"):
        file = f"checkpoints/{name}.safetensors"
        (tmp_path / "run" / file).write_bytes((tmp_path / "other" / file).read_bytes())
    with pytest.raises(ReinforcedError, match="holds another network's state"):
        fit(make(), tmp_path / "run")
    with pytest.raises(ReinforcedError, match="does not fit user_networks:linear"):
        load_model(tmp_path / "run")


@pytest.mark.parametrize("file", ["last", "best", "state"])
def test_a_full_disk_leaves_the_earlier_checkpoint(
    make: Make, fit: Fit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    """The disk fills up in the second epoch, while this file is written; later there is room again."""
    write, calls = save_file, {"last": 0, "best": 0, "state": 0}

    def save(tensors: Any, path: Path, metadata: Any) -> None:
        which = path.name.split(".")[1]
        calls[which] += 1
        if which == file and calls[which] == 2:
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        write(tensors, path, metadata=metadata)

    recipe = make(optimizer={"kind": "sgd", "lr": 0.5}, phases=[{"epochs": 3}])
    monkeypatch.setattr(checkpoint, "save_file", save)
    run = tmp_path / "run"
    with pytest.raises(ReinforcedError, match=f"disk full while writing .*/{file}.safetensors"):
        fit(recipe, run)
    assert list(run.glob("**/*.part")) == []
    _, values = load_checkpoint(RunDirectory(run).state)
    assert values["place"]["epoch"] == 1
    load_model(run)
    fit(recipe, run)
    monkeypatch.undo()
    fit(recipe, tmp_path / "whole")
    assert hashes(run) == hashes(tmp_path / "whole")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_as_safetensors_words_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The wording of safetensors 0.8 on a full tmpfs."""

    def save(tensors: Any, path: Path, metadata: Any) -> None:
        raise SafetensorError(
            f"Error while serializing: I/O error: {os.strerror(number)} (os error {number})"
        )

    monkeypatch.setattr(checkpoint, "save_file", save)
    with pytest.raises(ReinforcedError, match="disk full while writing"):
        save_checkpoint(tmp_path / "x.safetensors", {"a": torch.zeros(9)}, {})
    assert list(tmp_path.iterdir()) == []


def test_every_so_many_epochs_weights_are_kept(make: Make, fit: Fit, tmp_path: Path) -> None:
    fit(make(phases=[{"epochs": 5}], keep_every=2), tmp_path / "run")
    files = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    epochs = ["epoch-0002.safetensors", "epoch-0004.safetensors"]
    assert files == ["best.safetensors", *epochs, "last.safetensors", "state.safetensors"]
    directory = RunDirectory(tmp_path / "run")
    assert directory.kept_epochs == [2, 4]
    fit(make(phases=[{"epochs": 2}]), tmp_path / "short")
    short = RunDirectory(tmp_path / "short").weights("last")
    assert weights_hash(directory.weights("2")) == weights_hash(short)
    assert load_checkpoint(directory.weights("2"))[1]["epoch"] == 2
    for which in ("2", 2):
        model = load_model(tmp_path / "run", which=which)
        for name, value in load_model(tmp_path / "short").state_dict().items():
            assert torch.equal(model.state_dict()[name], value)


def test_an_epoch_that_was_not_kept(make: Make, fit: Fit, tmp_path: Path) -> None:
    fit(make(keep_every=1), tmp_path / "run")
    for which in ("3", 3, "lst"):
        with pytest.raises(ReinforcedError) as caught:
            load_model(tmp_path / "run", which=which)
        assert str(caught.value) == (
            f"{tmp_path}/run has no weights {which}; choose last, best, or a kept epoch: 1, 2"
        )
    fit(make(), tmp_path / "none")
    with pytest.raises(ReinforcedError, match=r"a kept epoch: none \(the recipe's keep_every keeps them\)"):
        load_model(tmp_path / "none", which="1")
