from __future__ import annotations

from pathlib import Path

import pytest

from reinforced.data.places import data_root, decoded_folder, resolve
from reinforced.errors import ReinforcedError


def test_root_is_the_argument_then_the_variable_then_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert data_root(None) == tmp_path / "cache" / "reinforced"
    monkeypatch.setenv("REINFORCED_DATA", "/data")
    assert data_root(None) == Path("/data")
    assert data_root(tmp_path) == tmp_path
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert decoded_folder() == Path.home() / ".cache" / "reinforced" / "decoded"
    monkeypatch.setenv("REINFORCED_CACHE", "/fast")
    assert decoded_folder() == Path("/fast")


def test_relative_paths_are_tried_here_then_under_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, root = tmp_path / "here", tmp_path / "root"
    for folder in (here, root):
        folder.mkdir()
    monkeypatch.chdir(here)
    (root / "a.npz").touch()
    assert resolve("a.npz", root, folder=False) == root / "a.npz"
    (here / "a.npz").touch()
    assert resolve("a.npz", root, folder=False) == here / "a.npz"
    assert resolve(str(root / "a.npz"), root, folder=False) == root / "a.npz"


def test_what_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.npz").touch()
    root = tmp_path / "root"
    for given, folder, said in (
        (
            "mime.npz",
            False,
            f"no such file: {tmp_path}/mime.npz or {root}/mime.npz; did you mean 'mine.npz'?",
        ),
        ("mine.npz", True, "is not a folder"),
        ("", True, "no path given"),
        ("a\0b", False, "no such file"),
        ("x" * 5000, False, "cannot read"),
        ("~nobody-of-that-name/x", False, "cannot read"),
    ):
        with pytest.raises(ReinforcedError) as caught:
            resolve(given, root, folder=folder)
        assert said in str(caught.value)
