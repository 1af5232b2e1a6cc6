"""Truncated and bit-flipped files: every file of a run, and of a sweep."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from injections.commands import call, forked
from injections.tally import Tally
from injections.workshop import CPU, DIAGNOSE, EVALUATE, SWEEP, TRAIN, Job, Workshop

REPORT_READS = (
    "recipe.yaml",
    "environment.json",
    "metrics.jsonl",
    "summary.json",
    "verdict.json",
    "evaluation.json",
    "outcomes.parquet",
    "pictures.npz",
    "subject.json",
    "verification.json",
)
TEXT = (".json", ".jsonl", ".yaml")
FLIPS = 2


def damages(content: bytes, text: bool, rng: random.Random) -> Iterator[tuple[str, bytes]]:
    """(what was done, the damaged content)."""
    whole = len(content)
    yield "empty", b""
    yield "cut in the midst", content[: whole // 2]
    if text and content.count(b"\n") > 1:
        yield "cut after a line", content[: content.rindex(b"\n", 0, whole - 1) + 1]
    elif not text:
        yield "cut by a byte", content[:-1]
    for _ in range(FLIPS):
        place = rng.randrange(whole)
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        yield f"bit flipped at byte {place} of {whole}", bytes(flipped)


class Damage:
    """A file at a time."""

    def __init__(self, shop: Workshop, tally: Tally, seed: int) -> None:
        self.shop, self.tally, self.rng = shop, tally, random.Random(seed)
        self.unnoticed = 0

    def run(self, share: int) -> None:
        """Damage every ``share``-th file of the examined run."""
        examined = self.shop.root / "examined"
        files = [
            path.relative_to(examined)
            for path in sorted(examined.rglob("*"))
            if path.is_file() and path.suffix != ".lock"
        ]
        for name in files[::share]:
            content = (examined / name).read_bytes()
            for what, damaged in damages(content, name.suffix in TEXT, self.rng):
                self._damage(name, what, damaged)

    def _damage(self, name: Path, what: str, damaged: bytes) -> None:
        run = self.shop.copy()
        (run / name).write_bytes(damaged)
        cut = not what.startswith("bit")
        kind = "truncated file" if cut else "bit-flipped file"
        self.tally.note(kind, f"{name} {what}: runs", call("runs", run), codes=(0,))
        # A diagnosis's own verdict is read where the run's copy of it is not.
        if name.name in REPORT_READS and "diagnostics" not in name.parts:
            said = call("report", run, "-o", run.parent / "page.html")
            silent = cut and said.code == 0 and "missing or damaged" not in said.out
            accepted = "the report says nothing of it" if silent else ""
            self.tally.note(kind, f"{name} {what}: report", said, codes=(0,), accepted=accepted)
        if "evaluations" in name.parts:
            self._verify(run, name, what, kind, cut)
        for job in _readers(name):
            self._run(job, run, name, what, kind)
        self.shop.discard(run)

    def _verify(self, run: Path, name: Path, what: str, kind: str, cut: bool) -> None:
        (folder,) = run.glob("evaluations/*/*")
        said = call("verify", folder, *CPU)
        chunk = name.name.startswith("chunk-")
        reads = name.name in ("evaluation.json", "subject.json") or chunk
        silent = reads and said.code == 0
        if silent and not cut and chunk and _same_arrays(run / name, self.shop.root / "examined" / name):
            silent = False  # of the archive's own fields, such as times, that nobody reads
        self.unnoticed += silent and not cut
        accepted = "verified all the same" if silent and (cut or name.suffix == ".npz") else ""
        self.tally.note(kind, f"{name} {what}: verify", said, accepted=accepted)

    def _run(self, job: Job, run: Path, name: Path, what: str, kind: str) -> None:
        if job is TRAIN and name.name != "summary.json":
            (run / "summary.json").unlink()
        kept = _results(run, name)
        said = call(*(("train", "--resume", run, *CPU) if job is TRAIN else job.command(run)))
        gone = [str(path) for path, content in kept.items() if not _same(run / path, content)]
        lost = f"{gone[0]} is gone or another" if gone and said.code else ""
        accepted = self.shop.same(job, run) if said.code == 0 else ""
        self.tally.note(kind, f"{name} {what}: {job.name}", said, lost=lost, accepted=accepted)
        if said.code == 2 and "delete it and" in said.err:
            (run / name).unlink()
            again = call(*job.command(run))
            lost = self.shop.same(job, run) if again.code == 0 else "deleted as told, and still refused"
            self.tally.note(kind, f"{name} {what}: {job.name} after deleting it", again, lost=lost)

    def sweep(self) -> None:
        """Damage what a sweep keeps beside its runs, and the records of a run of it, and start it again."""
        sweep = self.shop.root / "sweep"
        records = ("summary.json", "evaluations/*/*/evaluation.json", "diagnostics/*/verdict.json")
        names = [
            *(sweep / name for name in ("sweep.parquet", "study.yaml")),
            *(path for pattern in records for path in sorted(sweep.glob(f"runs/*/{pattern}"))),
        ]
        for path in names:
            name, content = path.relative_to(sweep), path.read_bytes()
            for what, damaged in damages(content, path.suffix in TEXT, self.rng):
                if what.startswith("bit") and path.name == "summary.json":
                    continue  # its figures are in no second place
                folder = self.shop.copy("sweep")
                (folder / name).write_bytes(damaged)
                said = forked(*SWEEP.command(folder))
                accepted = self.shop.same(SWEEP, folder) if said.code == 0 else ""
                kind = "bit-flipped file" if what.startswith("bit") else "truncated file"
                self.tally.note(kind, f"{name} {what}: sweep", said, accepted=accepted)
                self.shop.discard(folder)


def _readers(name: Path) -> tuple[Job, ...]:
    """Commands that go on from a file."""
    if "evaluations" in name.parts:
        return (EVALUATE,)
    if "diagnostics" in name.parts or name.name == "verdict.json":
        return (DIAGNOSE,)
    return (EVALUATE, DIAGNOSE, TRAIN) if name.name == "recipe.yaml" else (EVALUATE, TRAIN)


def _results(run: Path, damaged: Path) -> dict[Path, bytes]:
    """What took long to make, but the damaged file."""
    return {
        path.relative_to(run): path.read_bytes()
        for path in run.rglob("*")
        if path.suffix in (".npz", ".safetensors", ".jsonl")
        and path.relative_to(run) != damaged
        and path.name != "last.safetensors"  # which finishing writes anew
    }


def _same_arrays(path: Path, other: Path) -> bool:
    with np.load(path, allow_pickle=False) as one, np.load(other, allow_pickle=False) as two:
        return one.files == two.files and all(
            one[name].tobytes() == two[name].tobytes() for name in one.files
        )


def _same(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content
