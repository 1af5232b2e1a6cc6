from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from reinforced.errors import ReinforcedError
from reinforced.files import atomic, write_json, write_text


def contents(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_writes_into_new_folders_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "note.txt"
    write_text(path, "one é")
    write_text(path, "two é")
    assert path.read_text(encoding="utf-8") == "two é"
    assert contents(path.parent) == ["note.txt"]
    assert path.stat().st_mode & 0o777 == 0o644


def test_until_it_is_whole_the_old_file_stands(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")
    with atomic(path) as temporary:
        temporary.write_text("half")
        assert path.read_text() == "old"
        assert temporary.parent == tmp_path  # else the last step would not be atomic
    assert path.read_text() == "half"


@pytest.mark.parametrize(
    "error", [RuntimeError("crash"), KeyboardInterrupt(), OSError(errno.EIO, "bad disk")]
)
def test_a_crash_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def crash() -> None:
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        crash()
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["note.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line(tmp_path: Path, number: int) -> None:
    path = tmp_path / "note.txt"
    with pytest.raises(ReinforcedError, match=f"disk full while writing {path}"), atomic(path):
        raise OSError(number, os.strerror(number))
    assert contents(tmp_path) == []


def test_a_full_disk_found_only_when_syncing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "note.txt"
    write_text(path, "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReinforcedError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert contents(tmp_path) == ["note.txt"]


def test_a_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReinforcedError, match=r"cannot write .*; choose a folder you can write to"):
        write_text(tmp_path / "file" / "note.txt", "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ReinforcedError, match="cannot write"):
        write_text(tmp_path / "note.txt", "")
    tmp_path.chmod(0o700)


def test_json(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": [1, 2.5, None]})
    assert json.loads(path.read_text()) == {"a": [1, 2.5, None]}
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))
    assert json.loads(path.read_text()) == {"a": [1, 2.5, None]}
