"""What a reader of a comparison must know: where its figures are of different things."""

from __future__ import annotations

from collections.abc import Sequence

from reinforced.errors import ReinforcedError
from reinforced.studies.trained import Trained


def same_validation(runs: Sequence[Trained]) -> bool:
    """Whether all runs were validated on the same images."""
    # digits fixes its validation images; elsewhere both settings decide which they are.
    settings = [(run.data_sha256, run.recipe.data) for run in runs]
    return len({(sha, None if d.source == "digits" else (d.validation, d.limit)) for sha, d in settings}) == 1


def same_probe(runs: Sequence[Trained]) -> bool:
    """Whether all runs that were probed were probed alike."""
    probes = [run.recipe.probe for run in runs if run.recipe.probe is not None]
    return len({(probe.threat, probe.steps, probe.validation_images) for probe in probes}) <= 1


def training_notes(runs: Sequence[Trained]) -> list[str]:
    """About the figures of training."""
    notes = [
        f"{run.name} is unfinished, {run.last} epochs so far: equal epochs and compute cannot go beyond"
        for run in runs
        if run.state == "unfinished"
    ]
    notes += [f"{run.name} was imported, so nothing of its training is known" for run in runs if not run.rows]
    if not same_validation(runs):
        notes.append(
            "the runs were validated on different images (data.validation, data.limit or the data differ): "
            "their validation figures are shown, their differences are not"
        )
    if not same_probe(runs):
        notes.append(
            "the probes differ (threat, steps or images): robust validation accuracies are shown, their "
            "differences are not"
        )
    if len({run.machine for run in runs if run.rows}) > 1:
        notes.append("the runs ran on different machines or devices: their seconds cannot be compared")
    return notes


def data_notes(runs: Sequence[Trained], tested_together: Sequence[Sequence[Trained]]) -> list[str]:
    """About runs on different data.

    Raises:
        ReinforcedError: nothing shows that they have any image in common.
    """
    first = runs[0]
    other = next((run for run in runs if run.data_sha256 != first.data_sha256), None)
    if other is None:
        return []
    if not any(len({run.data_sha256 for run in together}) > 1 for together in tested_together):
        raise ReinforcedError(
            f"{first.path} and {other.path} are of different data ({first.recipe.data.source} and "
            f"{other.recipe.data.source}, sha256 differ), and no evaluation shows them on the same test "
            "images; compare runs on the same data, or "
            f"`reinforced evaluate {first.path} {other.path} --source ...`"
        )
    return [f"{first.name} and {other.name} are of different data: only their test figures compare"]
