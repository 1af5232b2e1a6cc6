"""Mechanism indicators and landscapes as the command line asks for them, with their files."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from reinforced.attacks.losses import Loss
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.landscape import Landscape, Slices, landscape, slices
from reinforced.diagnostics.indicators.measure import Mechanism, measure
from reinforced.diagnostics.indicators.pictures import decision_picture, loss_picture, save_picture
from reinforced.diagnostics.indicators.plane import Plane, adversarial_plane
from reinforced.errors import ReinforcedError
from reinforced.evaluation.job import folder_name
from reinforced.files import atomic, write_json, write_text
from reinforced.studies.subjects import Subject


def measure_subject(
    subject: Subject,
    threat: ThreatModel,
    folder: Path,
    *,
    steps: int,
    seed: int,
    batch: int,
    told: Callable[[str], None],
) -> tuple[Mechanism, Path]:
    """Measure all indicators; writes ``[VARIANT/]THREAT.json`` and, beside it, every image's values."""
    found = measure(
        subject.model,
        subject.images,
        subject.labels,
        threat,
        steps=steps,
        seed=seed,
        batch=batch,
        told=told,
    )
    # A report takes what lies in the folder itself for the run's.
    path = folder / "-".join(subject.variant(seed)) / f"{folder_name(str(threat))}.json"
    setup = {
        "model": subject.name,
        "threat": str(threat),
        "images": len(subject.labels),
        "steps": steps,
        "seed": seed,
        "checkpoint": subject.checkpoint,
    }
    save_arrays(path.with_suffix(".npz"), found.values())
    write_json(path, {**setup, **found.record()})
    return found, path


def table_rows(mechanisms: Sequence[Mechanism]) -> list[list[str]]:
    """A row a figure, a column a model: mean, 5th to 95th percentile, and what is zero or undefined."""
    rows = []
    for same in zip(*(each.indicators for each in mechanisms), strict=True):
        unit = f" [{same[0].unit}]" if same[0].unit else ""
        rows.append([same[0].name + unit, *(_cell(each.summary, each.values.numel()) for each in same)])
        for figure in same[0].figures:
            rows.append([f"  {figure}", *(_number(each.figures.get(figure)) for each in same)])
    for same in zip(*(each.entropy.rows() for each in mechanisms), strict=True):
        name = f"entropy, {same[0]['images']}, {same[0]['prediction']} [bits]"
        rows.append([name, *(f"{_number(each['mean'])} ({each['count']} images)" for each in same)])
    for images in ("clean", "adversarial"):
        cells = (_number(each.calibration[images].error) for each in mechanisms)
        rows.append([f"expected calibration error, {images}", *cells])
    return rows


@dataclass(frozen=True)
class Drawn:
    """A landscape with its slices, and the line that sums it up."""

    plane: Plane
    grid: Landscape
    slices: Slices
    line: str


def landscape_folder(run: Path, threat: ThreatModel, number: int, variant: Sequence[str] = ()) -> Path:
    """Where a run keeps the landscape around a test image; a report looks where there is no variant."""
    place = "-".join(["landscape", *variant])
    return run / "diagnostics" / place / f"{folder_name(str(threat))}-image-{number}"


def draw_landscape(
    subject: Subject,
    number: int,
    threat: ThreatModel,
    out: Path,
    *,
    loss: Loss = "ce",
    seed: int = 0,
    size: int = 300,
    span: float = 3.0,
    steps: int = 20,
    clip: bool = False,
    adaptive: bool = False,
    batch: int | None = None,
) -> Drawn:
    """Draw test image ``number``'s landscape: ``landscape.npz`` and ``.json``, two PNG, ``slices.csv``.

    Raises:
        ReinforcedError: there is no such image.
    """
    if not 0 <= number < len(subject.labels):
        raise ReinforcedError(
            f"image {number}: {subject.name} has test images 0 to {len(subject.labels) - 1}"
        )
    label = int(subject.labels[number])
    plane = adversarial_plane(
        subject.model, subject.images[number], label, threat, seed=seed, steps=steps, loss=loss
    )
    grid = landscape(
        subject.model,
        plane,
        size=size,
        span=span,
        loss=loss,
        clip=clip,
        adaptive=adaptive,
        batch=batch,
    )
    cuts = slices(subject.model, plane, size=2 * size + 1, span=span, loss=loss, clip=clip, batch=batch)
    nearest = cuts.nearest_other()
    low, high = float(grid.loss.min()), float(grid.loss.max())
    save_arrays(
        out / "landscape.npz",
        {
            "axis": grid.axis,
            "loss": grid.loss.float(),
            "decision": grid.decision.short(),
            "evaluated": grid.evaluated,
            "image": plane.image,
            "adversarial": plane.adversarial,
            "random": plane.random,
        },
    )
    record: dict[str, Any] = {
        "model": subject.name,
        "image": number,
        "label": label,
        "classes": list(subject.classes),
        "threat": str(threat),
        "axes": {
            "columns": "a: adversarial direction, epsilon long in the threat's norm",
            "rows": "b: random direction at right angles to it, epsilon long",
            "unit": "epsilon",
            "range": [-span, span],
            "size": size,
        },
        "loss": {"name": loss, "range": [low, high]},
        "attack": {"kind": "pgd", "steps": steps, "loss": loss},
        "clip": clip,
        "adaptive": adaptive,
        "seed": seed,
        "evaluated": int(grid.evaluated.sum()),
        "forwards": grid.forwards,
        "regions": {str(name): share for name, share in grid.regions.items()},
        "nearest_other_region": nearest,
    }
    write_json(out / "landscape.json", record)
    save_picture(out / "loss.png", loss_picture(grid))
    save_picture(out / "decision.png", decision_picture(grid))
    write_text(out / "slices.csv", _csv(cuts))
    shares = ", ".join(f"{subject.classes[name]} {share:.1%}" for name, share in grid.regions.items())
    own = int(cuts.decision[0, size])
    away = (
        f"nearest other region at {nearest:+.2f} epsilon along the adversarial axis"
        if nearest is not None
        else f"no other region within {span:g} epsilon along the adversarial axis"
    )
    line = f"{subject.name}, image {number} ({subject.classes[label]}, "
    line += f"taken for {subject.classes[own]}): {loss} {low:.3g} to {high:.3g}; "
    return Drawn(plane, grid, cuts, f"{line}{shares}; {away}; {grid.forwards:,} forward passes")


def save_arrays(path: Path, arrays: Mapping[str, Tensor]) -> None:
    """Write tensors as a compressed ``.npz``, atomically."""
    plain: dict[str, Any] = {name: tensor.cpu().numpy() for name, tensor in arrays.items()}
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **plain)


def _csv(cuts: Slices) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["axis", "epsilons", "loss", "decision"])
    for name, losses, decisions in zip(("adversarial", "random"), cuts.loss, cuts.decision, strict=True):
        for at, value, decision in zip(cuts.at.tolist(), losses.tolist(), decisions.tolist(), strict=True):
            writer.writerow([name, f"{at:.6g}", f"{value:.8g}", decision])
    return text.getvalue()


def _cell(summary: Mapping[str, float | int | None], asked: int) -> str:
    if summary["mean"] is None:
        return "undefined"
    text = f"{_number(summary['mean'])} [{_number(summary['q05'])}, {_number(summary['q95'])}]"
    if summary["zeros"]:
        text += f", {summary['zeros']:.1%} zero"
    missing = asked - int(summary["count"] or 0)
    return text + (f", {missing / asked:.1%} undefined" if missing else "")


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, (int, float)) else "-"
