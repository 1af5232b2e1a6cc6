"""The one test that starts Ray: under a minute on two idle cores, most of it starting processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from reinforced.attacks.threat import ThreatModel
from reinforced.studies.evaluations import Plan, evaluate_subject
from reinforced.studies.subjects import Source, load_subject
from reinforced.studies.sweep.job import work
from reinforced.studies.sweep.study import entries_of, load_study
from reinforced.studies.sweep.sweep import Place, Sweep
from reinforced.studies.sweep.table import identity, row_of

STUDY = {
    "schema": 1,
    "seeds": [0, 1],
    "overrides": {"phases.0.epochs": 1, "data.limit": 200},
    "grid": {"recipes": ["quickstart/sl"]},
    "evaluate": {"threats": ["digits"], "attacks": ["fgsm"], "images": 70},
    "diagnose": {"claim": "pgd@linf:0.5", "budget": "quick", "images": 128},
}


def test_a_cluster_gives_the_same_table_and_shares_an_evaluation(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    file = tmp_path / "small.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    study = load_study(file)
    entries = entries_of(study, tmp_path, tmp_path / "here")
    sweep = Sweep(study, entries, Place(tmp_path / "here", "cpu", None, ""), lambda states: None)
    for entry in entries:
        work(sweep._job(entry))
    here = [row_of(study, entry, tmp_path / "here") for entry in entries]

    done = subprocess.run(
        [
            sys.executable,
            str(Path(__file__).with_name("on_ray.py")),
            str(file),
            str(tmp_path / "ray"),
            "l2:0.5",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()[-1]  # Ray may say before it that a worker was killed
    assert [row["state"] for row in here] == ["finished", "finished"]
    assert all(row["verdict"] and row["diagnosis_passes"] for row in here)
    assert identity(json.loads(rows)) == identity(here)
    assert "usage stat" not in done.stderr.lower()
    shared = tmp_path / "ray" / "runs" / entries[0].name
    chunks = {path: path.stat().st_mtime_ns for path in shared.glob("evaluations/l2-0.5/*/fgsm/chunk-*.npz")}
    assert len(chunks) == 4
    # Here and there the same weights: merging the workers' chunks gives what one process finds by itself.
    assert matrix_sha256(shared) == matrix_sha256(entries[0].run)
    assert {path: path.stat().st_mtime_ns for path in chunks} == chunks


def matrix_sha256(run: Path) -> str:
    subject = load_subject(str(run), Source(images=200), torch.device("cpu"), run)
    plan = Plan(("fgsm",), {}, None, 0, False, (1, 1))
    _, found = evaluate_subject(subject, ThreatModel("l2", 0.5), plan, lambda attack, chunk, broken: None)
    assert found is not None
    return found.matrix_sha256
