"""Kill workers and drivers of a sweep midway, here and on a Ray cluster; go on; compare the tables.

``python benchmarks/sweep_kill.py``: 2 recipes x 2 learning rates x 3 seeds on digits. An undisturbed local
sweep gives the table that all others must equal, the seconds' columns aside: a local one and a Ray one that
lose a worker and then, later, the driver to SIGKILL and are started again, and an undisturbed Ray one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import yaml

from common import bar, machine, parse
from reinforced.studies.sweep.table import identity

STUDY = {
    "schema": 1,
    "grid": {
        "recipes": ["quickstart/sl", "quickstart/rl-expected"],
        "overrides": {"optimizer.lr": [0.001, 0.003]},
    },
    "evaluate": {"threats": ["digits"], "attacks": ["fgsm", "pgd(steps=10)"], "images": 128},
    "retries": 2,
}
JOB = "reinforced.studies.sweep.job"
PATIENCE = 600.0


@dataclass
class Outcome:
    """What became of a sweep: its table, and what the kills did."""

    rows: list[dict[str, Any]]
    exit_code: int
    workers_killed: int = 0
    drivers_killed: int = 0
    orphans: int = 0
    finished_before: int = 0

    @property
    def finished(self) -> int:
        return sum(row["state"] == "finished" for row in self.rows)


class Sweeps:
    """Sweeps of one study, a folder each."""

    def __init__(self, folder: Path, epochs: int, seeds: int) -> None:
        self.folder = folder
        self.entries = 4 * seeds
        self.file = folder / "study.yaml"
        given = {"seeds": list(range(seeds)), "overrides": {"phases.0.epochs": epochs}}
        self.file.write_text(yaml.safe_dump(STUDY | given))

    def start(self, name: str, ray: bool) -> subprocess.Popen[bytes]:
        arguments = ["sweep", str(self.file), "--out", str(self.folder / name), "--device", "cpu"]
        with self.said(name).open("ab") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "reinforced", *arguments, *(["--ray", "local"] if ray else [])],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                stdout=said,
                stderr=said,
            )

    def said(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def rows(self, name: str) -> list[dict[str, Any]]:
        return list(pq.read_table(self.folder / name / "sweep.parquet").to_pylist())

    def undisturbed(self, name: str, *, ray: bool) -> Outcome:
        process = self.start(name, ray)
        if process.wait():
            print(self.said(name).read_text().strip().splitlines()[-1])
        return Outcome(self.rows(name), process.returncode)

    def disturbed(self, name: str, *, ray: bool) -> Outcome:
        """Kill a worker in its training, then the driver in the midst of the sweep, then go on."""
        process = self.start(name, ray)
        victim = self.training(name)
        victim.kill()
        deadline = time.monotonic() + PATIENCE
        while self.summaries(name) < self.entries // 3 and time.monotonic() < deadline:
            time.sleep(0.1)
        self.training(name)
        before = self.summaries(name)
        workers = self.jobs(name)
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=30)
        found = self.undisturbed(name, ray=ray)
        return Outcome(found.rows, found.exit_code, 1, 1, len(alive), before)

    def training(self, name: str) -> psutil.Process:
        """A worker that has begun its work."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for job in self.jobs(name):
                if any(file.read_text().strip() == str(job.pid) for file in self.locks(name)):
                    return job
            time.sleep(0.05)
        raise SystemExit(f"no worker of {name} began its work")

    def locks(self, name: str) -> list[Path]:
        return list((self.folder / name / "runs").glob("*/run.lock"))

    def jobs(self, name: str) -> list[psutil.Process]:
        """Processes of this sweep's workers: they have its log open."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if JOB not in (process.info["cmdline"] or []):
                continue
            try:
                logs = {Path(f"/proc/{process.pid}/fd/{fd}").readlink() for fd in (1, 2)}
            except OSError:
                continue
            if any(log.parent == (self.folder / name / "logs").resolve() for log in logs):
                found.append(process)
        return found

    def summaries(self, name: str) -> int:
        return len(list((self.folder / name / "runs").glob("*/summary.json")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=3, help="of each of four settings")
    parser.add_argument("--only", choices=["local", "ray"], help="leave the other out")
    options = parse(parser)
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        sweeps = Sweeps(Path(folder).resolve(), options.epochs, options.seeds)
        outcomes = {"local, undisturbed": sweeps.undisturbed("local", ray=False)}
        if options.only != "ray":
            outcomes["local, killed"] = sweeps.disturbed("local-killed", ray=False)
        if options.only != "local":
            outcomes["Ray, undisturbed"] = sweeps.undisturbed("ray", ray=True)
            outcomes["Ray, killed"] = sweeps.disturbed("ray-killed", ray=True)
    report(outcomes)


def report(outcomes: dict[str, Outcome]) -> None:
    expected = identity(next(iter(outcomes.values())).rows)
    print(
        "| sweep | workers killed | drivers killed | trained before that | orphans | finished | same table |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, found in outcomes.items():
        same = "yes" if identity(found.rows) == expected else "NO"
        kills = f"{found.workers_killed} | {found.drivers_killed} | {found.finished_before}"
        print(f"| {name} | {kills} | {found.orphans} | {found.finished} of {len(found.rows)} | {same} |")
    every = outcomes.values()
    lost = sum(len(found.rows) - found.finished for found in every)
    other = sum(identity(found.rows) != expected for found in every)
    bar("sweep_entries_lost", lost, "==0", lost == 0)
    bar("sweep_other_tables", other, "==0", other == 0)
    orphans = sum(found.orphans for found in every)
    bar("sweep_orphans", orphans, "==0", orphans == 0)
    failures = sum(found.exit_code != 0 for found in every)
    bar("sweep_failures", failures, "==0", failures == 0)


if __name__ == "__main__":
    main()
