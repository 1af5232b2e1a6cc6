"""Places that cannot be written: full disks, closed pipes, read-only folders, files that are not ours."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from injections.commands import Said, contents, forked
from injections.tally import Tally
from injections.workshop import ATTACKS, CLAIM, CPU, DIAGNOSE, EVALUATE, REPORT, TRAIN, Workshop

VOLUME = 8 * 2**20
FULL = "full disk"
READ_ONLY = "read-only folder"
_LIBC = ctypes.CDLL(None, use_errno=True)


class Volume:
    """A small tmpfs that can be filled; where mounting is not allowed, a limit on the size of files."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path, self.ballast = path, path / "ballast"
        options = f"size={VOLUME},mode=755".encode()
        self.mounted = not _LIBC.mount(b"tmpfs", os.fsencode(path), b"tmpfs", 0, options)

    @property
    def kind(self) -> str:
        return f"tmpfs of {VOLUME >> 20} MB" if self.mounted else "RLIMIT_FSIZE"

    def fill(self, free: int) -> None:
        """Leave so many bytes."""
        if self.mounted:
            state = os.statvfs(self.path)
            self.ballast.write_bytes(bytes(max(0, state.f_bavail * state.f_frsize - free)))

    def clear(self) -> None:
        self.ballast.unlink(missing_ok=True)

    def limit(self, free: int) -> int | None:
        """Size that a file may have, where filling is not possible."""
        return None if self.mounted else free

    def close(self) -> None:
        if self.mounted:
            _LIBC.umount2(os.fsencode(self.path), 2)


@contextmanager
def _volume(path: Path) -> Iterator[Volume]:
    volume = Volume(path)
    try:
        yield volume
    finally:
        volume.close()


def full_disks(shop: Workshop, tally: Tally, sizes: tuple[int, ...]) -> str:
    """Commands on a disk with so many bytes left, then again with room; returns what the disk was."""
    with _volume(shop.root / "volume") as volume:
        for job, template in (
            (TRAIN, ""),
            (EVALUATE, "trained"),
            (DIAGNOSE, "trained"),
            (REPORT, "examined"),
        ):
            for free in sizes:
                run = shop.copy(template, volume.path)
                before = contents(run) if template else {}
                volume.fill(free)
                said = forked(*job.command(run), limit=volume.limit(free))
                volume.clear()
                after = contents(run) if run.is_dir() else {}
                gone = next((name for name, content in before.items() if after.get(name) != content), "")
                lost = f"{gone} is gone or another" if gone else ""
                if said.code == 0:
                    tally.note(FULL, f"{job.name}, {free} bytes left", said, lost=shop.same(job, run))
                else:
                    tally.note(FULL, f"{job.name}, {free} bytes left", said, codes=(2,), lost=lost)
                    again = forked(*job.command(run))
                    lost = shop.same(job, run) if again.code == 0 else "it does not go on"
                    tally.note(FULL, f"{job.name} again after {free} bytes", again, codes=(0,), lost=lost)
                shop.discard(run)
        return volume.kind


def closed_outputs(shop: Workshop, tally: Tally) -> None:
    """Standard output on /dev/full, and into a pipe that nobody reads."""
    commands = (("recipe",), ("recipe", "--fields"), ("runs", str(shop.root / "examined")), ("--help",))
    for arguments in commands:
        command = [sys.executable, "-m", "reinforced", *arguments]
        with Path("/dev/full").open("w") as full:
            found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        _note_output(tally, f"{' '.join(arguments)} > /dev/full", found)
        read, write = os.pipe()
        os.close(read)
        found = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
        os.close(write)
        _note_output(tally, f"{' '.join(arguments)} | true", found)


def _note_output(tally: Tally, what: str, found: subprocess.CompletedProcess[str]) -> None:
    full = what.endswith("/dev/full")
    silent = "nothing was printed, and exit 0" if full and found.returncode == 0 else ""
    # Whoever closes a pipe has enough: 1 without a word, as click has it.
    code = 0 if not full and found.returncode == 1 and not found.stderr else found.returncode
    tally.note(FULL, what, Said(code, "", found.stderr), lost=silent)


def read_only(shop: Workshop, tally: Tally) -> None:
    """Every command that writes, without root's privileges, where it may not."""
    run = shop.copy("examined")
    fresh = shop.copy("trained")
    (evaluation,) = run.glob("evaluations/*/*")
    home = run.parent
    study, recipe = home / "study.yaml", home / "recipe.yaml"
    finished = {
        "train --resume": ("train", "--resume", run, *CPU),
        "train": ("train", recipe, "--run", home / "new", *CPU),
        "train in place": ("train", recipe, "--run", fresh, *CPU),
        "evaluate": ("evaluate", fresh, *ATTACKS, *CPU),
        "evaluate again": ("evaluate", run, *ATTACKS, *CPU),
        "evaluate --gallery": ("evaluate", run, *ATTACKS, "--gallery", "4", *CPU),
        "verify": ("verify", evaluation, *CPU),
        "diagnose": ("diagnose", run, *CLAIM, *CPU),
        "diagnose afresh": ("diagnose", fresh, *CLAIM, *CPU),
        "report": ("report", run, "-o", home / "page.html"),
        "sweep": ("sweep", study, "--out", home / "sweep", *CPU),
        "calibrate": ("calibrate", "--folder", home / "calibration", "--seeds", "0", "--only", "supervised"),
        "export": ("export", run, "-o", home / "export"),
        "leaderboard": ("leaderboard", home, "-o", home / "board.md"),
        "data --sheet": ("data", "digits", "--sheet", home / "sheet.png"),
        "data --save": ("data", "digits", "--sheet", "/dev/null/x.png", "--save", home / "digits.npz"),
        "proc": ("leaderboard", home, "-o", "/proc/x/board.md"),
    }
    folders = (home, fresh.parent)
    for folder in folders:
        _permit(folder, False)
    before = [contents(folder) for folder in folders]
    for what, command in finished.items():
        said = forked(*command, privileged=False)
        changed = [contents(folder) for folder in folders] != before
        tally.note(READ_ONLY, what, said, codes=(2,), lost="something was written" if changed else "")
    for name in (
        "recipe.yaml",
        "metrics.jsonl",
        "summary.json",
        "checkpoints/last.safetensors",
        "verdict.json",
    ):
        (run / name).chmod(0)
        reading = (("runs", home), ("evaluate", run, *ATTACKS, *CPU), ("train", "--resume", run, *CPU))
        for command in reading:
            tally.note("unreadable file", f"{name}: {command[0]}", forked(*command, privileged=False))
        (run / name).chmod(0o444)
    for folder in folders:
        _permit(folder, True)
    shop.discard(run)
    shop.discard(fresh)


def _permit(folder: Path, writing: bool) -> None:
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o755 if writing else 0o555) if path.is_dir() else (0o644 if writing else 0o444))
