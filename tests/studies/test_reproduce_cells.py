"""Which runs, evaluations and images a cell stands on, and which it refuses."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from reinforced.data import load, to_float
from reinforced.errors import ReinforcedError
from reinforced.studies.reproduce.cost import estimate
from reinforced.studies.reproduce.imagewise import cell_error, paired_error, unpacked
from reinforced.studies.reproduce.measures import Reading
from reinforced.studies.reproduce.measures.derived import Subset
from reinforced.studies.reproduce.measures.metric import Metric
from reinforced.studies.reproduce.paper import load_paper
from reinforced.studies.reproduce.records import NOT_RUN, record_of
from reinforced.training.run import RunDirectory, load_model
from tests.studies.tiny_study import TINY, cells_of, record_in, run_study, survey, tables_of


@pytest.mark.parametrize("changes", [{"images": 41}, {"seeds": (0, 1, 2)}])
def test_without_all_its_seeds_and_images_a_cell_is_not_run(done: Path, changes: dict[str, Any]) -> None:
    paper = load_paper(str(TINY))
    larger = paper.sizes["cpu"].model_copy(update=changes)
    record = record_of(survey(done / "runs", paper.model_copy(update={"sizes": {"cpu": larger}})), "tiny")
    cell = cells_of(record)["SL", "clean"]
    assert cell == {
        "row": "SL",
        "column": "clean",
        "unit": "share",
        "least": 0.0,
        "most": 1.0,
        "state": NOT_RUN,
    }


def test_a_run_is_adopted_by_what_it_trained(done: Path, tmp_path: Path) -> None:
    found = survey(done / "runs").run("SL", 1)
    assert found is not None
    elsewhere = tmp_path / "my" / "favourite"
    shutil.copytree(found, elsewhere)
    text = (elsewhere / "recipe.yaml").read_text()
    (elsewhere / "recipe.yaml").write_text(text.replace("name: quickstart/sl", "name: mine"))
    (elsewhere / "environment.json").write_text(
        re.sub(',\\s*"recipe_sha256": "[0-9a-f]+"', "", (elsewhere / "environment.json").read_text())
    )
    mine = survey(tmp_path)
    assert mine.run("SL", 1) == elsewhere
    assert mine.run("SL", 0) != elsewhere
    reading = mine.reading("SL", 1, "clean")
    assert reading is not None
    assert reading.images == 40
    (elsewhere / "recipe.yaml").write_text(text.replace("lr: 0.003", "lr: 0.002"))
    assert RunDirectory(elsewhere).recipe.optimizer.lr == 0.002
    assert survey(tmp_path).run("SL", 1) != elsewhere


def test_an_evaluation_of_other_weights_or_with_a_failed_check_does_not_count(
    done: Path, tmp_path: Path
) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    found = survey(tmp_path / "runs")
    run = found.run("SL", 0)
    assert run is not None
    assert found.reading("SL", 0, "fgsm@1") is not None
    (verified,) = run.glob("evaluations/linf-0.1/*epoch-1/verification.json")
    values = json.loads(verified.read_text())
    verified.write_text(json.dumps(values | {"matrix_sha256": "of another"}))
    assert found.reading("SL", 0, "fgsm@1") is None
    shutil.copyfile(run / "checkpoints/epoch-0001.safetensors", run / "checkpoints/last.safetensors")
    assert found.reading("SL", 0, "clean") is None


def test_a_subset_is_of_the_first_images_and_paired_with_its_like(done: Path) -> None:
    cells = cells_of(record_in(done / "study"))
    clean, few, margin = (cells["RL", name] for name in ("clean", "clean-few", "margin"))
    assert few["images"] == margin["images"] == 8
    for whole, part, like in zip(clean["values"], few["values"], margin["values"], strict=True):
        first = unpacked(whole, 40)
        assert first is not None
        assert part["value"] == pytest.approx(first[:8].mean())
        assert (part["data"], part["model"]) == (like["data"], like["model"])


def test_a_fresh_column_is_of_the_images_that_follow(done: Path) -> None:
    cells = cells_of(record_in(done / "study"))
    found = survey(done / "runs")
    images, (evaluated, counted) = (
        load("digits", validation=0.0).test,
        (cells["RL", "again"], cells["RL", "clean-again"]),
    )
    stored, labels = images.batch(torch.arange(40, 80))
    for seed, (left, right) in enumerate(zip(evaluated["values"], counted["values"], strict=True)):
        run = found.run("RL", seed)
        assert run is not None
        with torch.no_grad():
            expected = load_model(run)(to_float(stored)).argmax(1) == labels
        assert unpacked(right, 40) == pytest.approx(expected.double().numpy())
        attacked = unpacked(left, 40)
        assert attacked is not None
        assert (attacked <= expected.numpy()).all()
        assert 0 < left["value"] < 1
        assert left["data"] == right["data"] != cells["RL", "clean"]["values"][seed]["data"]
    assert paired_error(evaluated, cells["RL", "fgsm@2"]) == pytest.approx(
        math.hypot(*(cell_error(cells["RL", one]) or math.nan for one in ("again", "fgsm@2")))
    ), "of other images, so not image by image"


def test_a_fresh_evaluation_is_not_taken_for_one_of_the_first_images(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    found = survey(tmp_path / "runs")
    run = found.run("SL", 0)
    assert run is not None
    (subject,) = run.glob("evaluations/linf-0.1/*after-40*/subject.json")
    assert found.reading("SL", 0, "again") is not None
    subject.write_text(json.dumps(json.loads(subject.read_text()) | {"skip": 0}))
    assert found.reading("SL", 0, "again") is None


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "attacks: [fgsm], fresh: true",
            "attacks: [fgsm], fresh: true, few: true",
            "column again: is few or fresh",
        ),
        (
            "measure: clean, fresh: true",
            "measure: clean, split: train, fresh: true",
            "only test images are fresh",
        ),
    ],
)
def test_a_column_that_cannot_be_fresh_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.read_text().replace(old, new))
    with pytest.raises(ReinforcedError, match=said):
        load_paper(str(tmp_path / "tiny.yaml"))


def test_the_parts_of_a_columns_parts_are_measured_for_it(tmp_path: Path) -> None:
    text = TINY.read_text().replace(
        '  - number: "9.2"\n',
        '  - number: "9.0"\n    title: Alone\n    rows: [SL]\n'
        '    columns: [{id: top, measure: peak, of: [difference]}]\n  - number: "9.2"\n',
    )
    (tmp_path / "tiny.yaml").write_text(text)
    paper = load_paper(str(tmp_path / "tiny.yaml"))
    jobs = list(survey(tmp_path / "runs", paper).jobs(tables_of(paper, "9.0")))
    assert {job.column.id for job in jobs if job.column is not None} == {"released", "corrected"}


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        (None, "no outcome of each image of b"),
        ((1,), "no outcome of each"),
        ((1, -1, 0), "a is a difference"),
    ],
)
def test_a_subset_of_what_keeps_no_shares_is_refused(outcomes: tuple[int, ...] | None, said: str) -> None:
    subset = Subset(id="few", measure="subset", of="a", like="b")
    whole, like = Reading(0.5, 3, {}, outcomes), Reading(0.5, 2, {"data": "some"}, (1, 0))
    with pytest.raises(ReinforcedError, match=f"column few: .*{said}"):
        subset.combine([whole, like])


def test_the_probes_shares_are_of_the_images_that_training_says(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    paper = load_paper(str(TINY))
    (table,) = (one for one in paper.tables if one.number == "9.2")
    shares = [
        Metric(id=name, measure="metric", name=name)
        for name in ("validation_accuracy", "robust_train_accuracy", "train_accuracy")
    ]
    wider = table.model_copy(update={"columns": (*table.columns, *shares)})
    paper = paper.model_copy(update={"tables": tuple(wider if one is table else one for one in paper.tables)})

    def images() -> list[int | None]:
        cells = cells_of(record_of(survey(tmp_path / "runs", paper), "tiny"))
        return [cells["SL", name]["images"] for name in (*(share.id for share in shares), "passes")]

    assert images() == [300, 16, None, None]
    run = survey(tmp_path / "runs").run("SL", 1)
    assert run is not None
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"validation_images": 299}))
    assert images() == [None, 16, None, None], "of no one number of images"


def test_an_evaluation_on_other_images_does_not_count(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    found = survey(tmp_path / "runs")
    run = found.run("SL", 0)
    assert run is not None
    for file in run.glob("evaluations/linf-0.1/*/subject.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"data": "npz:others.npz"}))
    assert found.reading("SL", 0, "fgsm@1") is None
    paper = load_paper(str(TINY))
    others = paper.sizes["cpu"].model_copy(update={"test": "npz:others.npz"})
    elsewhere = survey(tmp_path / "runs", paper.model_copy(update={"sizes": {"cpu": others}}))
    assert elsewhere.reading("SL", 0, "fgsm@1") is not None
    assert elsewhere.reading("SL", 0, "clean") is None
    assert elsewhere.reading("SL", 0, "transfer") is None


@pytest.mark.parametrize(
    ("old", "new", "cells", "said"),
    [
        ("name: passes", "name: pases", ["passes"], "has no pases; did you mean 'passes'?"),
        (
            "among: [slow, fast]",
            "among: [slow, fast], by: robust_validation",
            ["validated", "verdict", "left"],
            "has no robust_validation; did you mean 'robust_validation_accuracy'?",
        ),
    ],
)
def test_a_figure_that_cannot_be_read_is_a_failed_job_and_the_others_go_on(
    done: Path, tmp_path: Path, old: str, new: str, cells: list[str], said: str
) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY.read_text().replace(old, new))
    paper = load_paper(str(tmp_path / "tiny.yaml"))
    shutil.copytree(done / "runs", tmp_path / "runs")
    outcome = run_study(tmp_path / "runs", tmp_path / "study", paper=paper)
    assert outcome.busy == ()
    assert {job.column.id for job, _ in outcome.failed if job.column is not None} == set(cells)
    assert all(said in error for _, error in outcome.failed)
    found = cells_of(record_in(tmp_path / "study")).values()
    assert {cell["column"] for cell in found if cell["state"] == NOT_RUN} == set(cells)
    costs = estimate(survey(tmp_path / "runs", paper), paper.tables)
    assert sum(cost.jobs - cost.done for cost in costs) == len(outcome.failed)


def test_fewer_images_than_asked_for_are_refused(done: Path) -> None:
    bench = survey(done / "runs").bench("SL", 0)
    assert len(bench.subject("last", 300).labels) == 300
    with pytest.raises(ReinforcedError, match="digits: has 300 test images; 301 are asked for"):
        bench.subject("last", 301)
    assert len(bench.subject("last", 200, skip=100).labels) == 200
    with pytest.raises(ReinforcedError, match="digits: has 300 test images; 301 are asked for"):
        bench.subject("last", 201, skip=100)
    with pytest.raises(
        ReinforcedError, match="digits: has 300 test images; none is left after the first 300"
    ):
        bench.subject("last", 1, skip=300)


def test_rows_measured_on_different_test_images_are_refused(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    found = survey(tmp_path / "runs")
    run = found.run("SL", 0)
    assert run is not None

    def replace_images(name: str) -> None:
        file = run / "measurements" / name
        file.write_text(json.dumps(json.loads(file.read_text()) | {"data": "others"}))

    replace_images("train-last.json")  # each seed holds out other images
    assert cells_of(record_of(found, "tiny"))["SL", "train"]["values"][0]["data"] == "others"
    replace_images("test-40-last.json")
    with pytest.raises(ReinforcedError, match="column clean: its rows were measured on different images"):
        record_of(found, "tiny")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("precision", "bf16", "SL, seed 1, was trained with precision bf16, but SL, seed 0, with float32"),
        ("data_sha256", "f" * 64, "SL, seed 1, was trained with data set digits ffffffffffff, but"),
    ],
)
def test_rows_trained_in_another_precision_or_on_other_data_are_refused(
    done: Path, tmp_path: Path, key: str, value: str, said: str
) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    found = survey(tmp_path / "runs")
    for label, seed in (("SL", 0), ("SL", 1), ("RL", 0), ("RL", 1), ("fast", 0), ("slow", 0)):
        run = found.run(label, seed)
        assert run is not None
        file = run / "environment.json"
        known = json.loads(file.read_text()) | {"precision": "float32"}
        file.write_text(json.dumps(known | ({key: value} if (label, seed) == ("SL", 1) else {})))
    with pytest.raises(ReinforcedError, match=said):
        record_of(survey(tmp_path / "runs"), "tiny")
