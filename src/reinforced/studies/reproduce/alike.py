"""Nothing is set side by side that was not measured, or trained, alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.measures.base import digest, read_json
from reinforced.studies.reproduce.survey import Survey


def refuse_other_images(survey: Survey, cells: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to set figures of different test images side by side.

    Raises:
        ReinforcedError: a column was measured on different ones.
    """
    trained_on = {
        column.id
        for _, column in survey.paper.columns(survey.size_name)
        if getattr(column, "split", "test") == "train"
    }
    for name in dict.fromkeys(cell["column"] for cell in cells):
        if name in trained_on:
            continue
        several = {
            value["data"]
            for cell in cells
            if cell["column"] == name
            for value in cell.get("values", ())
            if "data" in value
        }
        if len(several) > 1:
            raise ReinforcedError(
                f"column {name}: its rows were measured on different images (sha256 differs); was a data set "
                "replaced? measure again with other --runs"
            )


def refuse_other_weights(survey: Survey, cells: Sequence[Mapping[str, Any]]) -> None:
    """Refuse to join what is measured here with what a record kept of a run that has ended otherwise.

    Raises:
        ReinforcedError: a run here has not the weights that a figure of its row is of.
    """
    columns = {column.id: column for _, column in survey.paper.columns(survey.size_name)}
    for cell in cells:
        column = columns[cell["column"]]
        if column.parts:  # these have cells of their own
            continue
        for value in cell.get("values", ()):
            run = survey.run(cell["row"], value["seed"])
            if run is None or not survey.trained(cell["row"], value["seed"]):
                continue
            # A figure of training's own at some epoch goes by the run's last weights.
            known = {digest(run, which) for which in ("last", column.epoch)} - {None}
            if known and value["model"] not in known:
                raise ReinforcedError(
                    f"{run}: has not the weights that the record's figures of {cell['row']}, seed "
                    f"{value['seed']}, are of (trained on another kind of machine, or by another version); "
                    "give other --records, or move the record away to measure everything again"
                )


def refuse_other_training(survey: Survey) -> None:
    """Refuse rows of one study that were trained in another precision, or on data sets of the same name.

    Raises:
        ReinforcedError: ``auto``, or a data source's name, meant something else where a run was trained.
    """
    first: dict[tuple[str, str], tuple[str, str]] = {}
    for row in survey.paper.rows:
        for seed in survey.seeds(row.label) if survey.settled(row.label) is not None else ():
            run, recipe = survey.run(row.label, seed), survey.recipe(row.label, seed)
            known = None if run is None else read_json(run / "environment.json")
            if known is None or recipe is None:
                continue
            data = recipe.data.source
            for what, key in (("precision", "precision"), (f"data set {data}", "data_sha256")):
                if key not in known:  # of an earlier version
                    continue
                found, where = str(known[key]), f"{row.label}, seed {seed}"
                other, there = first.setdefault((what, key), (found, where))
                if other != found:
                    raise ReinforcedError(
                        f"{where}, was trained with {what} {found[:12]}, but {there}, with {other[:12]}; "
                        f"move {run} away to train it again"
                    )
