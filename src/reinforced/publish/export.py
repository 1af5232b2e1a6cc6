"""A run as a folder that others can use: weights, card, records; all of it made of the run's own records."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import model_sha256
from reinforced.files import write_json, write_text
from reinforced.publish.card import card
from reinforced.publish.entries import Entry, entries, public_source
from reinforced.publish.exported import CONFIG, WEIGHTS, read_config
from reinforced.publish.onnx_file import write_onnx
from reinforced.publish.robustbench import robustbench
from reinforced.report.reading import mapping, text
from reinforced.report.records import RunRecord, data_source, read_runs
from reinforced.training.checkpoint import load_checkpoint
from reinforced.training.run import RunDirectory, load_model

ONNX = "model.onnx"
FILES = (CONFIG, "recipe.yaml", "environment.json", "robustbench.json", ONNX, WEIGHTS, "README.md")
"""What a folder may hold, in the order in which it is put there: the card last."""


@dataclass(frozen=True)
class Export:
    """What was exported.

    Attributes:
        files: names of those that were written.
        evaluations: how many the card reports.
        onnx_difference: the largest difference of a logit, with ``onnx``.
    """

    folder: Path
    files: tuple[str, ...]
    evaluations: int
    onnx_difference: float | None


def export(run: Path, folder: Path, *, which: str = "last", onnx: bool = False) -> Export:
    """Write a run's weights with a model card, a RobustBench-style record and its recipe.

    Only evaluations and verdicts of these very weights are reported, by the weights' hash. An export that is
    there is replaced; files that are not of an export stay.

    Args:
        run: the run directory.
        folder: where it goes.
        which: ``last``, ``best``, or a kept epoch, such as ``20``.
        onnx: also as ONNX, checked to give the same logits.

    Raises:
        ReinforcedError: no run or no such weights, weights that were never evaluated, or a folder that
            holds something else.
    """
    _refuse_other_folder(folder)
    model = load_model(run, which=which)
    (record,) = read_runs([run])
    sha256 = model_sha256(model)
    reported = tuple(entry for entry in entries(record) if entry.weights == sha256)
    if not reported:
        raise ReinforcedError(
            f"{run}: its weights {which!r} were never evaluated, and a card without figures says little; "
            f"`reinforced evaluate {run}{'' if which == 'last' else f' --checkpoint {which}'}`"
        )
    weights = RunDirectory(run).weights(which)
    config = _config(record, which, sha256, load_checkpoint(weights)[1])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as made:
            difference = _write(Path(made), model, weights, config, record, reported, onnx)
            return Export(folder, _put(Path(made), folder), len(reported), difference)
    except OSError as error:
        raise ReinforcedError(f"cannot write {folder}: {error.strerror}; choose another --out") from error


def _write(
    made: Path,
    model: nn.Module,
    weights: Path,
    config: Mapping[str, Any],
    run: RunRecord,
    reported: tuple[Entry, ...],
    onnx: bool,
) -> float | None:
    difference = write_onnx(model, tuple(config["shape"]), made / ONNX) if onnx else None
    shutil.copyfile(weights, made / WEIGHTS)
    write_json(made / CONFIG, config)
    write_text(made / "recipe.yaml", yaml.safe_dump(_public(run.recipe), sort_keys=False, allow_unicode=True))
    write_json(made / "environment.json", run.environment)
    write_json(made / "robustbench.json", robustbench(reported))
    write_text(made / "README.md", card(run, config, reported, difference))
    return difference


def _put(made: Path, folder: Path) -> tuple[str, ...]:
    """Move the files to their place, the card last; what an earlier export left over goes."""
    folder.mkdir(exist_ok=True)
    for name in FILES:
        if (made / name).exists():
            (made / name).replace(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return tuple(name for name in FILES if (folder / name).exists())


def _refuse_other_folder(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        read_config(folder)
    except ReinforcedError:
        raise ReinforcedError(
            f"{folder} holds something other than an export; choose another --out"
        ) from None


def _config(run: RunRecord, which: str, sha256: str, values: Mapping[str, Any]) -> dict[str, Any]:
    settings = mapping(run.recipe, "model")
    return {
        "reinforced": text(run.environment, "reinforced"),
        "network": text(settings, "name"),
        "normalize": text(settings, "normalize", "none"),
        "shape": values["shape"],
        "classes": values["classes"],
        "data": public_source(data_source(run)),
        "checkpoint": which,
        "epoch": values.get("epoch"),
        "model_sha256": sha256,
    }


def _public(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without folders of this machine."""
    plain: dict[str, Any] = json.loads(json.dumps(recipe))
    plain["data"]["source"] = public_source(plain["data"]["source"])
    if plain["model"].get("weights"):
        plain["model"]["weights"] = Path(plain["model"]["weights"]).name
    return plain
