"""Loss landscapes with a shared scale, decision regions and slices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from reinforced.report import palette
from reinforced.report.figure import Axis, Dash, Figure, Line, Lines, Panel, Regions, Surface, short
from reinforced.report.figures.words import slug
from reinforced.report.mechanisms import LandscapeRecord
from reinforced.report.reading import Array, number
from reinforced.report.records import RunRecord

A, B = Axis("adversarial (epsilon)"), Axis("random (epsilon)")
OTHERS = "other classes"
Drawn = tuple[RunRecord, LandscapeRecord]


def landscape(records: Sequence[RunRecord]) -> list[Figure]:
    """A figure for each threat, image and loss: a row a run, all on one scale."""
    groups: dict[tuple[str, int, str], list[Drawn]] = {}
    for record in records:
        for found in filter(_usable, record.landscapes):
            groups.setdefault((found.threat, found.image, found.loss_name), []).append((record, found))
    return [_figure(*key, drawn) for key, drawn in groups.items()]


def _figure(threat: str, image: int, loss: str, drawn: Sequence[Drawn]) -> Figure:
    finite = [found.loss[np.isfinite(found.loss)] for _, found in drawn]
    known = [part for part in finite if part.size]
    limits = (min(float(p.min()) for p in known), max(float(p.max()) for p in known)) if known else None
    height = Axis(f"loss ({loss})", limits=limits if limits and limits[0] < limits[1] else None)
    owners = _owners([found for _, found in drawn])
    panels: list[Panel] = []
    for record, found in drawn:
        panels.append(Surface(record.name, A, B, height, found.axis, found.loss.astype(np.float32)))
        panels.append(_regions(record.name, found, owners))
        panels.append(_slices(record, found, height))
    classes = drawn[0][1]
    size = " or ".join(dict.fromkeys(f"{len(f.axis)} x {len(f.axis)}" for _, f in drawn))
    asked = [number(found.record, "evaluated") / found.loss.size for _, found in drawn]
    part = [share for share in asked if share < 1]
    filled = f" At least {min(part):.0%} of the points were evaluated, the rest interpolated." if part else ""
    off = max(abs(float(found.axis[_middle(found)])) for _, found in drawn)
    beside = f" Slices lie {off:.2g} epsilon beside the image." if off > 1e-9 else ""
    return Figure(
        slug("landscape", threat, f"image-{image}", loss),
        f"Loss landscape, image {image} ({threat})",
        f"Loss ({loss}) of test image {image} ({_class(classes, classes.label)}) at {size} points of the "
        "plane of its adversarial direction and a random one, in epsilons, on one scale for all models."
        f"{filled}{beside} One image: it shows a mechanism and measures nothing.",
        " ".join(_told(record, found, owners) for record, found in drawn),
        tuple(panels),
        columns=3,
    )


def _usable(found: LandscapeRecord) -> bool:
    return found.axis.size > 1 and found.decision.dtype.kind in "iu" and bool(np.isfinite(found.loss).any())


def _owners(landscapes: Sequence[LandscapeRecord]) -> list[int]:
    """The classes that have a colour, the true one first, then by their share of all planes."""
    count = Counter[int]()
    for found in landscapes:
        values, cells = np.unique(found.decision, return_counts=True)
        count.update(dict(zip(values.tolist(), cells.tolist(), strict=True)))
    true = landscapes[0].label
    others = [value for value, _ in count.most_common() if value != true]
    return [true, *others]


def _regions(title: str, found: LandscapeRecord, owners: Sequence[int]) -> Regions:
    room = len(palette.REGIONS["light"])
    shown = owners if len(owners) <= room else owners[: room - 1]
    names = [_class(found, value) for value in shown]
    index = np.full(found.decision.shape, len(shown), dtype=np.int16)
    for at, value in enumerate(shown):
        index[found.decision == value] = at
    more = [OTHERS] if len(shown) < len(owners) else []
    return Regions(title, A, B, found.axis, index, (*names, *more))


def _slices(record: RunRecord, found: LandscapeRecord, height: Axis) -> Lines:
    middle = _middle(found)
    cuts: tuple[tuple[str, Array, Dash], ...] = (
        ("adversarial", found.loss[middle], "solid"),
        ("random", found.loss[:, middle], "dash"),
    )
    at = (found.axis.astype(np.float64),)
    lines = tuple(
        Line(f"{name}: {record.method}", record.slot, at, cut.astype(np.float64), dash=dash)
        for name, cut, dash in cuts
    )
    return Lines(record.name, (Axis("along each axis (epsilon)"),), height, lines)


def _middle(found: LandscapeRecord) -> int:
    """The row or column nearest to the image: an even grid has no point at the image itself."""
    return int(np.abs(found.axis).argmin())


def _class(found: LandscapeRecord, value: int) -> str:
    return found.classes[value] if 0 <= value < len(found.classes) else f"class {value}"


def _told(record: RunRecord, found: LandscapeRecord, owners: Sequence[int]) -> str:
    shares = {value: float((found.decision == value).mean()) for value in owners}
    largest = sorted((value for value in owners if shares[value] > 0), key=lambda value: -shares[value])[:3]
    regions = ", ".join(f"{shares[value]:.0%} for {short(_class(found, value))}" for value in largest)
    low, high = np.nanmin(found.loss), np.nanmax(found.loss)
    return f"{short(record.name)}: loss {low:.3g} to {high:.3g}; area {regions}."
