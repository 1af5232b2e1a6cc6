"""SIGKILL and SIGTERM in the midst of a command, a dying shard, two writers of one folder, NaN weights."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import torch

from injections.commands import Forked, Said, forked
from injections.tally import Tally
from injections.workshop import ATTACKS, CPU, DIAGNOSE, EVALUATE, REPORT, SWEEP, TRAIN, Job, Workshop
from reinforced.training.checkpoint import load_checkpoint, save_checkpoint

SIGNALS = {"SIGKILL": (signal.SIGKILL, (-9,)), "SIGTERM": (signal.SIGTERM, (143,))}
TRIES = 5
"""Starts of a command that ends before its signal comes."""
MOMENTS: dict[str, tuple[Job, str, str]] = {
    # What a command works on, and files of which some are there once it is in the midst of it.
    "train": (TRAIN, "", "metrics.jsonl"),
    "evaluate": (EVALUATE, "trained", "evaluations/*/*/*/chunk-*.npz"),
    "diagnose": (DIAGNOSE, "trained", "diagnostics/fgsm*/*.npz"),
    "report": (REPORT, "examined", "../.template-report.*/fresh/*"),
    "sweep": (SWEEP, "", "runs/*/run.lock"),
}


def interrupt(shop: Workshop, tally: Tally, names: tuple[str, ...], waits: tuple[int, ...]) -> None:
    """Signals once so many files are there, then the same command again."""
    for name in names:
        for said in SIGNALS:
            for wait in waits:
                _interrupt(shop, tally, name, said, wait)


def _interrupt(shop: Workshop, tally: Tally, name: str, sign: str, wait: int) -> None:
    job, template, pattern = MOMENTS[name]
    number, codes = SIGNALS[sign]
    run = shop.copy(template)
    process = Forked(*job.command(run))
    process.until(lambda: len(list(run.parent.glob(f"template/{pattern}"))) >= wait)
    struck = process.send(number)
    said = process.ended()
    if struck:
        kept = {path: path.read_bytes() for path in run.rglob("*.npz")}
        tally.note(sign, f"{name}, file {wait}", said, codes=(*codes, 0))
        again = forked(*job.command(run))
        gone = [str(path) for path, content in kept.items() if path.read_bytes() != content]
        lost = shop.same(job, run) if again.code == 0 else "it does not go on"
        parts = [str(path) for path in run.rglob("*.part")]
        tally.note(
            f"{sign}, again",
            f"{name}, file {wait}",
            again,
            codes=(0,),
            lost=lost or (f"{gone[0]} was done again" if gone else ""),
            accepted=f"{parts[0]} was left" if parts else "",
        )
    else:
        tally.miss(sign, f"{name}, file {wait}")
    shop.discard(run)


def interrupt_calibration(shop: Workshop, tally: Tally) -> None:
    """Signals while the first base trains; it must then be the one that undisturbed training gives."""
    folder = shop.root / "calibration"
    command = ("calibrate", "--folder", folder, "--seeds", "0", "--only", "sl", "--budget", "quick")

    def rows() -> int:
        """Epochs of the base so far."""
        return sum(len(path.read_text().splitlines()) for path in folder.glob("bases/*/metrics.jsonl"))

    for count, (sign, (number, codes)) in enumerate(SIGNALS.items(), 1):
        process = Forked(*command)
        process.until(lambda least=2 * count: rows() >= least)  # type: ignore[misc]
        process.send(number)
        tally.note(sign, "calibrate", process.ended(), codes=codes)
    process = Forked(*command)
    process.until(lambda: any(folder.glob("bases/*/summary.json")))
    process.send(signal.SIGTERM)
    said = process.ended()
    (base,) = (path.parent for path in folder.glob("bases/*/summary.json"))
    shutil.copy(base / "recipe.yaml", shop.root / "base.yaml")
    forked("train", shop.root / "base.yaml", "--run", shop.root / "base", *CPU)
    lost = "" if TRAIN.result(base) == TRAIN.result(shop.root / "base") else "another base"
    tally.note("SIGTERM, again", "calibrate", said, codes=(143, 0), lost=lost)


def dying_worker(shop: Workshop, tally: Tally) -> None:
    """One of two shards is killed beside its first chunk; the other goes on, and it is started again."""
    run = shop.copy("trained")
    command = ("evaluate", run, *ATTACKS, "--shards")
    died = _struck(
        lambda: Forked(*command, "1/2", *CPU), run, "evaluations/*/*/*/chunk-*.npz", signal.SIGKILL
    )
    if died is None:
        tally.miss("worker dying", "shard 1/2")
        shop.discard(run)
        return
    tally.note("worker dying", "shard 1/2", died, codes=(-signal.SIGKILL,))
    other = forked(*command, "2/2", *CPU)
    early = any(run.glob("evaluations/*/*/evaluation.json"))
    tally.note(
        "worker dying", "shard 2/2", other, codes=(0,), accepted="concluded without it" if early else ""
    )
    again = forked(*command, "1/2", *CPU)
    tally.note("worker dying", "shard 1/2 again", again, codes=(0,), lost=shop.same(EVALUATE, run))
    shop.discard(run)


def _struck(start: Callable[[], Forked], run: Path, pattern: str, number: int) -> Said | None:
    """What a command that got a signal beside its first file ended with; ``None`` if always too fast."""
    for _ in range(TRIES):
        process = start()
        process.until(lambda: any(run.glob(pattern)))
        struck = process.send(number)
        said = process.ended()
        if struck and said.code != 0:
            return said
        for path in run.glob(pattern.split("/", maxsplit=1)[0]):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return None


def two_writers(shop: Workshop, tally: Tally, names: tuple[str, ...]) -> None:
    """The same command twice at a time."""
    for name in names:
        job, template, _ = MOMENTS[name]
        run = shop.copy(template)
        for said in [process.ended() for process in [Forked(*job.command(run)) for _ in range(2)]]:
            tally.note("two writers", name, said, lost=shop.same(job, run))
        shop.discard(run)


def nan_weights(shop: Workshop, tally: Tally) -> None:
    """A checkpoint, a state in the midst of training, and a file of weights that hold not-a-number."""
    run = shop.copy("trained")
    last = run / "checkpoints" / "last.safetensors"
    _spoil(last, "")
    for command in (
        ("evaluate", run, *ATTACKS, *CPU),
        ("diagnose", run, "--claim", "fgsm@linf:0.15", "--budget", "quick", "--images", "64", *CPU),
        ("export", run, "-o", run.parent / "export"),
        (
            "evaluate",
            "tiny",
            "--source",
            "digits",
            "--weights",
            last,
            *ATTACKS,
            "--out",
            run.parent / "e",
            *CPU,
        ),
        ("train", run.parent / "recipe.yaml", "--weights", last, "--run", run.parent / "new", *CPU),
    ):
        said = forked(*command)
        accepted = "" if said.code else "figures of a network that predicts nothing"
        tally.note("NaN weights", str(command[0]), said, accepted=accepted)
    shop.discard(run)
    run = shop.copy("")
    stopped = _struck(
        lambda: Forked(*TRAIN.command(run)), run.parent, "template/metrics.jsonl", signal.SIGTERM
    )
    if stopped is None:
        tally.miss("NaN weights", "train --resume")
    else:
        _spoil(run / "checkpoints" / "state.safetensors", "network.")
        said = forked("train", "--resume", run, *CPU)
        tally.note("NaN weights", "train --resume", said, accepted="" if said.code else "trained on")
    shop.discard(run)


def _spoil(file: Path, prefix: str) -> None:
    tensors, values = load_checkpoint(file)
    name = next(name for name in tensors if name.startswith(prefix) and tensors[name].is_floating_point())
    tensors[name] = torch.full_like(tensors[name], torch.nan)
    save_checkpoint(file, tensors, values)
