"""The process of an attempt, as its starter sees it: here and inside a Ray task alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from reinforced.studies.sweep.job import Job

GRACE = 30.0
"""Seconds that a process has to save when it is asked to stop."""
_TAIL = 4000
"""Bytes of a log in which its error is looked for."""


class Child:
    """A started attempt."""

    def __init__(self, job: Job, log: Path, threads: int, gpus: str | None) -> None:
        """Start it.

        Args:
            job: what to do.
            log: file that its output is added to.
            threads: of torch.
            gpus: as in ``CUDA_VISIBLE_DEVICES``; ``None`` leaves what is there.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        with log.open("ab") as output:
            self._began = output.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reinforced.studies.sweep.job"],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=_environment(os.environ, threads, gpus),
                # Of its own session: Ctrl-C is the starter's, who then asks each process to stop.
                start_new_session=True,
            )
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(job.model_dump_json(by_alias=True).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it is dead already, as error() will say

    def ended(self) -> bool:
        """Whether it has."""
        return self.process.poll() is not None

    def error(self) -> str | None:
        """Of an ended attempt: what went wrong, in one line, or nothing."""
        code = self.process.returncode
        if code == 0:
            return None
        if code < 0:
            return f"the worker was killed by {signal.Signals(-code).name}"
        with self._log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(self._began, size - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
        said = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
        last = said or [line for line in lines if line.strip()] or ["it said nothing"]
        return f"{last[-1].strip()}" if said else f"the worker ended with {code}: {last[-1].strip()}"

    def ask_to_stop(self) -> None:
        """Let it save and end."""
        if not self.ended():
            self.process.terminate()

    def close(self, grace: float = 0.0) -> None:
        """Wait so many seconds for its end, then end it."""
        deadline = time.monotonic() + grace
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.05)
        if not self.ended():
            self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()


def _environment(own: Mapping[str, str], threads: int, gpus: str | None) -> dict[str, str]:
    found = {**own, **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))}
    if gpus is not None:
        found["CUDA_VISIBLE_DEVICES"] = gpus
    return found
