"""One attempt at an entry, in a process of its own: train, evaluate, diagnose; what is done stays done.

``python -m reinforced.studies.sweep.job`` reads a :class:`Job` from the first line of its standard input. The
starter keeps that pipe open for as long as it lives: when it closes, however the starter ended, the process
kills itself, so that no orphan goes on writing.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from reinforced.component import Component
from reinforced.errors import Damaged, Interrupted, InUse, ReinforcedError
from reinforced.studies.cluster import enter
from reinforced.studies.sweep.study import Diagnose, Evaluate
from reinforced.training.recipe import Recipe

if TYPE_CHECKING:
    import torch

PATIENCE = 60.0
"""Seconds to wait for a run directory that the process of a killed sweep still holds."""


class Job(Component):
    """All that a process needs to know; paths are absolute.

    Attributes:
        data: folder of data sets, as the starter found it: a node's environment may say another.
        data_given: whether it was named, so that an evaluation remembers it.
        cwd: where the starter was started, for relative paths in recipes.
    """

    run: Path
    recipe: Recipe
    checkpoint: str
    evaluate: Evaluate | None
    diagnose: Diagnose | None
    device: str
    data: Path
    data_given: bool
    cwd: Path


def work(job: Job) -> None:
    """Train, evaluate, diagnose, going on where an earlier attempt stopped.

    What is found damaged and can be made again is moved to the run's ``damaged`` folder, and made again.

    Raises:
        ReinforcedError: whatever a step has to say, or an attack that crashed on some images.
        Interrupted: a signal; what was done is saved.
    """
    moved: set[Path] = set()
    while True:
        try:
            return _work(job)
        except Damaged as found:
            if found.path is None or found.path in moved:
                raise
            moved.add(found.path)
            _set_aside(found.path, job.run)


def _set_aside(path: Path, run: Path) -> None:
    kept = run / "damaged" / f"{time.time_ns()}" / path.relative_to(run)
    kept.parent.mkdir(parents=True)
    path.rename(kept)
    print(f"{path} was damaged: it is made again, the damaged one is {kept}", flush=True)


def _work(job: Job) -> None:
    from reinforced.studies.diagnosis import diagnose_subject, load_control  # noqa: PLC0415
    from reinforced.studies.evaluations import Plan, evaluate_subject, remember_subject  # noqa: PLC0415
    from reinforced.studies.subjects import Source, load_subject  # noqa: PLC0415
    from reinforced.training.device import resolve_device  # noqa: PLC0415

    device = resolve_device(job.device)
    _train(job, device)
    if job.evaluate is not None:
        wanted = job.evaluate
        source = Source(checkpoint=job.checkpoint, images=wanted.images, root=job.data)
        subject = load_subject(str(job.run), source, device, job.run)
        plan = Plan(wanted.attacks, {}, None, wanted.seed, wanted.run_all, (1, 1))
        for threat in wanted.budgets():
            folder, found = evaluate_subject(subject, threat, plan, _said)
            assert found is not None  # one shard
            named = source if job.data_given else replace(source, root=None)
            remember_subject(folder, str(job.run), named, subject.classes)
            if found.incomplete:
                crashed = next(one for one in found.attacks if one.failed_chunks)
                chunk, error = next(iter(crashed.failed_chunks.items()))
                raise ReinforcedError(f"{crashed.name} crashed on chunk {chunk} under {threat}: {error}")
    if job.diagnose is not None:
        from reinforced.diagnostics.findings import Claim  # noqa: PLC0415

        judged = job.diagnose
        source = Source(checkpoint=job.checkpoint, images=judged.images, root=job.data)
        diagnose_subject(
            load_subject(str(job.run), source, device, job.run),
            Claim.parse(judged.claim),
            budget=judged.budget,
            control=load_control(str(job.run), None, source, device, job.run),
            surrogates={},
            smoothed=None,
            seed=judged.seed,
            told=lambda check: print(f"diagnose: {check}", flush=True),
        )


def _train(job: Job, device: torch.device) -> None:
    from reinforced.training.loop import train  # noqa: PLC0415
    from reinforced.training.progress import progress_bar  # noqa: PLC0415

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with progress_bar(job.run.name) as bar:
                train(job.recipe, job.run, device=device, data_root=job.data, reporter=bar)
        except InUse:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def _said(attack: str, chunk: int, broken: int) -> None:
    outcome = "crashed" if broken < 0 else f"{broken} broken"
    print(f"evaluate: {attack}, chunk {chunk + 1}: {outcome}", flush=True)


def _die_with_the_starter() -> None:
    # Not through sys.stdin: a thread that holds its buffer makes the interpreter's end fail.
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


def _stop(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001
    sys.exit(128 + number)  # no Exception, so no attack's crash; files half-written are removed on the way


def main() -> None:
    """Do the job given on standard input; the last line on standard error says why it could not be done."""
    signal.signal(signal.SIGTERM, _stop)
    line = bytearray()
    while not line.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return
        line += byte
    threading.Thread(target=_die_with_the_starter, daemon=True).start()
    job = Job.model_validate_json(bytes(line))
    try:
        enter(job.cwd)
        work(job)
    except Interrupted as stopped:
        sys.exit(stopped.exit_code)
    except (ReinforcedError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:
        import traceback  # noqa: PLC0415

        traceback.print_exc()
        said = " ".join(str(error).split())
        print(f"error: internal: {type(error).__name__}: {said} (the log has the traceback)", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
