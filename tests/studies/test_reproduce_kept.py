"""A study goes on from its record alone, as in a new clone, where no run is left."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.kept import Kept
from reinforced.studies.reproduce.paper import load_paper
from reinforced.studies.reproduce.records import NOT_RUN, canonical, read_record, record_of
from reinforced.studies.reproduce.survey import Place, Survey
from tests.studies.tiny_study import TINY, cells_of, record_in, run_study, survey

RECORDS = Path(__file__).parents[2] / "docs" / "results" / "study"


def changed(done: Path, folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The finished study's record, changed, in a folder of its own."""
    record = record_in(done / "study")
    change(record)
    folder.mkdir()
    (folder / "tiny-cpu.json").write_text(canonical(record))
    return folder


def forgetting(*cells: tuple[str, str]) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for cell in record["cells"]:
            if (cell["row"], cell["column"]) in cells:
                for key in ("values", "images", "mean", "low", "high"):
                    cell.pop(key)
                cell["state"] = NOT_RUN

    return change


def jobs_left(runs: Path, records: Path, study: Path = TINY) -> list[str]:
    found = survey(runs, load_paper(str(study)), records)
    return [str(job) for job in found.jobs(found.paper.tables) if not found.done(job)]


def test_without_its_runs_nothing_is_done_and_the_record_stays_the_same(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "study", tmp_path / "study")
    said: list[str] = []
    run_study(tmp_path / "none", tmp_path / "study", told=said.append)
    assert said == []
    before, after = ((folder / "study" / "tiny-cpu.json").read_bytes() for folder in (done, tmp_path))
    assert before == after
    assert not list((tmp_path / "none").glob("**/recipe.yaml"))


@pytest.mark.parametrize("path", sorted(RECORDS.glob("*.json")), ids=lambda path: str(path.stem))
def test_a_committed_record_is_that_of_its_study_and_goes_on_from_itself(path: Path, tmp_path: Path) -> None:
    """Byte for byte; whoever changes a study's rows or columns measures these cells again."""
    name, _, size = path.stem.rpartition("-")
    survey = Survey(
        load_paper(name),
        size,
        Place(tmp_path, torch.device("cpu"), None),
        Kept(read_record(RECORDS, name, size)),
    )
    assert canonical(record_of(survey, name)) == path.read_text()


def test_what_is_missing_is_trained_again_and_joins_what_was_kept(done: Path, tmp_path: Path) -> None:
    records = changed(done, tmp_path / "study", forgetting(("SL", "clean"), ("SL", "peak")))
    runs = tmp_path / "runs"
    assert jobs_left(runs, records) == [
        "table 9.1: SL, seed 0: train",
        "table 9.1: SL, seed 0: clean",
        "table 9.1: SL, seed 1: train",
        "table 9.1: SL, seed 1: clean",
    ]
    run_study(runs, records)
    assert (records / "tiny-cpu.json").read_bytes() == (done / "study" / "tiny-cpu.json").read_bytes()
    assert len(list(runs.glob("reproduce/*"))) == 2


def test_a_transfer_trains_its_source_of_every_seed(done: Path, tmp_path: Path) -> None:
    left = jobs_left(tmp_path / "none", changed(done, tmp_path / "study", forgetting(("RL", "transfer"))))
    assert [one.removeprefix("table 9.2: ") for one in left if one.endswith("train")] == [
        "SL, seed 0: train",
        "RL, seed 0: train",
        "SL, seed 1: train",
        "RL, seed 1: train",
    ]


def test_a_chosen_row_is_trained_again_without_those_that_it_was_chosen_among(
    done: Path, tmp_path: Path
) -> None:
    records = changed(done, tmp_path / "study", forgetting(("chosen", "validated")))
    assert jobs_left(tmp_path / "none", records) == [
        "table 9.3: chosen, seed 0: train",
        "table 9.3: chosen, seed 0: validated",
    ]
    assert survey(tmp_path / "none", None, records).settled("chosen") == load_paper(str(TINY)).row("fast")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("optimizer.lr: 1.0e-5", "optimizer.lr: 2.0e-5"),
        ("{among: [slow, fast]}", "{among: [slow, fast], by: validation_accuracy}"),
        ("{among: [slow, fast]}", "{among: [slow, fast, SL]}"),
        ("optimizer.lr: 1.0e-5}, seeds: {cpu: [0]}", "optimizer.lr: 1.0e-5}, seeds: {cpu: [0, 1]}"),
    ],
)
def test_another_choice_is_made_anew(done: Path, tmp_path: Path, old: str, new: str) -> None:
    study = tmp_path / "tiny.yaml"
    assert TINY.read_text().count(old) == 1
    study.write_text(TINY.read_text().replace(old, new))
    found = survey(tmp_path / "none", load_paper(str(study)), done / "study")
    assert found.settled("chosen") is None
    assert cells_of(record_of(found, "tiny"))["chosen", "validated"]["state"] == NOT_RUN
    left = jobs_left(tmp_path / "none", done / "study", study)
    assert "table 9.3: slow, seed 0: train" in left
    assert "table 9.3: fast, seed 0: train" in left


def test_figures_of_other_weights_are_not_joined(done: Path, tmp_path: Path) -> None:
    def other_weights(record: dict[str, Any]) -> None:
        forgetting(("SL", "train"))(record)
        for cell in record["cells"]:
            if (cell["row"], cell["column"]) == ("SL", "clean"):
                cell["values"][1]["model"] = "f" * 64

    records = changed(done, tmp_path / "study", other_weights)
    runs = tmp_path / "runs"
    shutil.copytree(done / "runs", runs)
    for file in runs.glob("reproduce/sl-*-seed1/measurements/test-40-last.json"):
        file.unlink()
    before = (records / "tiny-cpu.json").read_bytes()
    with pytest.raises(
        ReinforcedError, match="seed1: has not the weights that the record's figures of SL, seed 1"
    ):
        run_study(runs, records)
    assert (records / "tiny-cpu.json").read_bytes() == before


@pytest.mark.parametrize(
    ("old", "new", "gone", "stays"),
    [
        # A row, and what was made on it or from it.
        ("optimizer.lr: 3.0e-3", "optimizer.lr: 2.0e-3", {("RL", "clean"), ("RL", "peak")}, ("SL", "clean")),
        # A column, and what is derived from it.
        ("of: released}", "of: worst}", {("SL", "released"), ("SL", "difference")}, ("SL", "stalled")),
        ("images: 40", "images: 41", {("SL", "clean"), ("SL", "transfer")}, ("SL", "margin")),
        # A source of transfers, and no more than that.
        ("source: SL, threat", "source: RL, threat", {("RL", "transfer")}, ("RL", "train")),
    ],
)
def test_what_a_changed_row_or_column_measured_is_not_kept(
    done: Path, tmp_path: Path, old: str, new: str, gone: set[tuple[str, str]], stays: tuple[str, str]
) -> None:
    study = tmp_path / "tiny.yaml"
    text = TINY.read_text()
    assert text.count(old) == 1
    study.write_text(text.replace(old, new))
    found = survey(tmp_path / "none", load_paper(str(study)), done / "study")
    cells = cells_of(record_of(found, "tiny"))
    assert {cells[key]["state"] for key in gone} == {NOT_RUN}
    assert cells[stays]["state"] == "measured"
    row = next(iter(gone))[0]
    assert f"{row}, seed 0: train" in " ".join(jobs_left(tmp_path / "none", done / "study", study))


def test_a_new_column_of_kept_ones_needs_no_run(done: Path, tmp_path: Path) -> None:
    study = tmp_path / "tiny.yaml"
    more = "      - {id: cost, measure: difference, first: clean, second: corrected}\n"
    head = '  - number: "9.3"'
    study.write_text(TINY.read_text().replace(head, more + head))
    found = survey(tmp_path / "none", load_paper(str(study)), done / "study")
    assert [job for job in found.jobs(found.paper.tables) if not found.done(job)] == []
    cells = cells_of(record_of(found, "tiny"))
    assert cells["SL", "cost"]["mean"] == pytest.approx(
        cells["SL", "clean"]["mean"] - cells["SL", "corrected"]["mean"], abs=1e-6
    )
