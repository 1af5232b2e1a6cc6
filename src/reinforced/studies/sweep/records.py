"""What an entry's own files say: what is finished, what is still to do, and why it has failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reinforced.attacks.threat import ThreatModel
from reinforced.errors import Damaged
from reinforced.files import write_json
from reinforced.studies.diagnosis import control_folder
from reinforced.studies.sweep.checked import sound_diagnosis, sound_evaluation
from reinforced.studies.sweep.study import Diagnose, Entry, Evaluate, Study
from reinforced.studies.weights import weights_sha256
from reinforced.training.run import RunDirectory


def to_do(study: Study, entry: Entry) -> list[str]:
    """The steps of an entry without a finished record: ``train``, ``evaluate linf:0.15``, ``diagnose``."""
    steps = [] if summary_of(entry) else ["train"]
    if study.evaluate is not None:
        for threat in study.evaluate.budgets():
            record = evaluation_of(study.evaluate, entry, threat, study.checkpoint)
            if record is None or record.get("incomplete") is not False:
                steps.append(f"evaluate {threat}")
    if study.diagnose is not None and diagnosis_of(study.diagnose, entry, study.checkpoint) is None:
        steps.append("diagnose")
    return steps


def evaluation_of(
    wanted: Evaluate, entry: Entry, threat: ThreatModel, checkpoint: str
) -> dict[str, Any] | None:
    """The finished evaluation that a study asks for, found by what it says of itself and checked."""
    summary = summary_of(entry)
    if summary is None:
        return None
    images = min(wanted.images or summary["test_images"], summary["test_images"])
    chosen = wanted.chosen(threat)
    asked = {
        "threat": str(threat),
        "as_released": [attack.name for attack in chosen.released],
        "seed": wanted.seed,
        "run_all": wanted.run_all,
        "model_sha256": weights_sha256(entry.run, checkpoint),
    }
    of_the_run = {
        "checkpoint": checkpoint,
        "data": None,
        "size": None,
        "skip": 0,
    }  # and not of images named by hand
    for record, folder in _records(entry.run, "evaluations/*/*/evaluation.json"):
        setup = {"as_released": [], **record.get("setup", {})}
        if (
            record.get("images") == images
            and _says(setup, asked)
            and setup.get("attacks") == [one.name for one in chosen.suited(setup.get("draws", 1))]
            and _says({"skip": 0, **(_read(folder / "subject.json") or {})}, of_the_run)
            and sound_evaluation(record, folder)
        ):
            return record
    return None


def diagnosis_of(wanted: Diagnose, entry: Entry, checkpoint: str) -> dict[str, Any] | None:
    """The finished diagnosis that a study asks for, found by what it says of itself and checked."""
    summary = summary_of(entry)
    if summary is None:
        return None
    images = min(wanted.images or summary["test_images"], summary["test_images"])
    asked = {
        "claim": wanted.claim,
        "budget": wanted.budget,
        "seed": wanted.seed,
        "surrogates": {},
        "model_sha256": weights_sha256(entry.run, checkpoint),
        "control_sha256": weights_sha256(control_folder(entry.run), "last"),
    }
    for record, folder in _records(entry.run, "diagnostics/*/verdict.json"):
        if (
            record.get("images") == images
            and folder.name.endswith(f"-{checkpoint}")
            and _says(_read(folder / "setup.json"), asked)
            and sound_diagnosis(record, folder)
        ):
            return record
    return None


def summary_of(entry: Entry) -> dict[str, Any] | None:
    """The summary of an entry's finished training; a damaged one does not count."""
    run = RunDirectory(entry.run)
    try:
        return run.summary() if (run.path / "recipe.yaml").is_file() else None
    except Damaged:
        return None


def keep_error(folder: Path, entry: Entry, error: str | None) -> None:
    """Write down why an entry has failed; ``None`` forgets it."""
    file = _error_file(folder, entry)
    if error is None:
        file.unlink(missing_ok=True)
    else:
        write_json(file, {"error": " ".join(error.split())})


def error_of(folder: Path, entry: Entry) -> str:
    """Why an entry has failed, in one line; empty if it has not."""
    found = _read(_error_file(folder, entry))
    return "" if found is None else str(found.get("error", "its record is damaged"))


def _records(run: Path, pattern: str) -> Iterator[tuple[dict[str, Any], Path]]:
    for file in sorted(run.glob(pattern)):
        found = _read(file)
        if found is not None:
            yield found, file.parent


def _read(file: Path) -> dict[str, Any] | None:
    """A record; ``None`` if it is not there or damaged: then its step is not finished, and says why."""
    try:
        values: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return values if isinstance(values, dict) else None


def _says(found: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> bool:
    return found is not None and {key: found.get(key) for key in asked} == asked


def _error_file(folder: Path, entry: Entry) -> Path:
    return folder / "errors" / f"{entry.name}.json"
