"""A study on digits: jobs, resuming, adopting, cells, and the command as a user types it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reinforced import cli
from reinforced.errors import InUse, ReinforcedError
from reinforced.studies.reproduce.cost import estimate
from reinforced.studies.reproduce.execute import Outcome, execute
from reinforced.studies.reproduce.imagewise import unpacked
from reinforced.studies.reproduce.measures.base import digest
from reinforced.studies.reproduce.paper import Paper, Table, choose_tables, load_paper
from reinforced.studies.reproduce.records import NOT_RUN, canonical, record_of, refuse_to_forget
from reinforced.studies.reproduce.survey import Place, Survey
from reinforced.training.run import RunDirectory

TINY = Path(__file__).with_name("tiny_study.yaml")
Typed = Callable[..., tuple[int, str, str]]


def tables_of(paper: Paper, *numbers: str) -> list[Table]:
    return choose_tables(paper, numbers, "tiny")


def survey(runs: Path, paper: Paper | None = None) -> Survey:
    return Survey(paper or load_paper(str(TINY)), "cpu", Place(runs, torch.device("cpu"), None))


def run_study(
    runs: Path,
    records: Path,
    *tables: str,
    paper: Paper | None = None,
    told: Callable[[str], None] = lambda _: None,
) -> Outcome:
    found = survey(runs, paper)
    return execute(
        found, tables_of(found.paper, *tables), name="tiny", records=records, again="the command", told=told
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the finished study: its runs and its record."""
    folder = tmp_path_factory.mktemp("study")
    outcome = run_study(folder / "runs", folder / "study")
    assert (outcome.busy, outcome.failed) == ((), ())
    return folder


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Typed:
    def run(*words: str, at: Path = tmp_path) -> tuple[int, str, str]:
        monkeypatch.chdir(at)
        monkeypatch.setattr(sys, "argv", ["reinforced", "reproduce", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def record_in(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "tiny-cpu.json").read_text())
    return found


def cells_of(record: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(cell["row"], cell["column"]): cell for cell in record["cells"]}


def test_every_cell_has_its_seeds_its_interval_and_its_hashes(done: Path) -> None:
    cells = cells_of(record_in(done / "study"))
    assert {cell["state"] for cell in cells.values()} == {"measured"}
    clean = cells["SL", "clean"]
    assert [value["seed"] for value in clean["values"]] == [0, 1]
    assert clean["images"] == 40
    assert clean["low"] <= clean["mean"] <= clean["high"]
    assert clean["mean"] == pytest.approx(sum(value["value"] for value in clean["values"]) / 2, abs=1e-6)
    run = survey(done / "runs").run("SL", 0)
    assert run is not None
    assert clean["values"][0]["model"] == digest(run, "last")
    difference = cells["SL", "difference"]["values"][1]["value"]
    parts = [cells["SL", name]["values"][1]["value"] for name in ("released", "corrected")]
    assert difference == pytest.approx(parts[0] - parts[1], abs=1e-6)
    assert cells["SL", "peak"]["mean"] >= cells["SL", "fgsm@2"]["mean"]
    assert cells["RL", "transfer"]["values"][0]["data"] == clean["values"][0]["data"]
    assert cells["SL", "passes"]["mean"] > 0
    assert cells["SL", "passes"]["low"] is None  # seeds that agree on a number are no interval
    assert cells["SL", "passes"]["images"] is None
    assert cells["chosen", "validated"]["images"] == 16  # the probe's
    judged = survey(done / "runs").run("chosen", 0)
    assert judged is not None
    (verdict,) = judged.glob("diagnostics/*/verdict.json")
    assert cells["chosen", "verdict"]["values"][0]["value"] == json.loads(verdict.read_text())["label"]


def test_shares_of_test_images_keep_the_outcome_of_each(done: Path) -> None:
    cells = cells_of(record_in(done / "study"))
    for name in ("clean", "fgsm@1", "peak", "released", "stalled", "corrected", "difference", "transfer"):
        for value in cells["SL", name]["values"]:
            outcomes = unpacked(value, cells["SL", name]["images"])
            assert outcomes is not None
            assert outcomes.mean() == pytest.approx(value["value"], abs=1e-6), name
    clean, fgsm = (unpacked(cells["SL", name]["values"][0], 40) for name in ("clean", "fgsm@2"))
    assert clean is not None
    assert fgsm is not None
    assert (fgsm <= clean).all()
    assert unpacked(cells["SL", "train"]["values"][0], 40) is None  # other images for each seed


def test_the_row_chosen_on_validation_images_is_the_better_one_and_is_not_trained_twice(done: Path) -> None:
    record, found = record_in(done / "study"), survey(done / "runs")
    assert [row["chosen"] for row in record["rows"]] == [None, None, None, None, "fast"]
    assert found.run("chosen", 0) == found.run("fast", 0) != found.run("slow", 0)


def test_a_second_run_does_nothing_and_gives_the_same_record(done: Path) -> None:
    said: list[str] = []
    before = (done / "study" / "tiny-cpu.json").read_bytes()
    run_study(done / "runs", done / "study", told=said.append)
    assert said == []
    assert (done / "study" / "tiny-cpu.json").read_bytes() == before


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[4])
from pathlib import Path
from test_reproduce import run_study

def told(text):
    if text == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

run_study(Path(sys.argv[1]), Path(sys.argv[2]), "9.1", told=told)
"""


def test_killed_and_resumed_it_gives_the_same_records(done: Path, tmp_path: Path) -> None:
    runs, records = tmp_path / "runs", tmp_path / "study"
    at = "table 9.1: RL, seed 0: fgsm@2: verifying"
    words = [sys.executable, "-c", KILLED, str(runs), str(records), at, str(Path(__file__).parent)]
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as here: sums of several round otherwise
    died = subprocess.run(words, check=False, capture_output=True, env=one_thread)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()
    left = cells_of(record_in(records))
    assert left["SL", "fgsm@1"]["state"] == NOT_RUN  # one seed is not two
    run_study(runs, records, "9.1")
    resumed, whole = (cells_of(record_in(folder)) for folder in (records, done / "study"))
    of_table = [(row, name) for row in ("SL", "RL") for name in ("fgsm@1", "fgsm@2", "peak", "clean")]
    assert {key: resumed[key] for key in of_table} == {key: whole[key] for key in of_table}
    assert resumed["SL", "released"]["state"] == NOT_RUN  # of a table that was not asked for


def test_ctrl_c_says_how_to_go_on(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    for file in (tmp_path / "runs").glob("reproduce/*/measurements/test-*.json"):
        file.unlink()

    def told(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ReinforcedError, match=r"go on with `the command`") as stopped:
        run_study(tmp_path / "runs", tmp_path / "study", told=told)
    assert getattr(stopped.value, "exit_code", 0) == 130


@pytest.mark.parametrize("changes", [{"images": 41}, {"seeds": (0, 1, 2)}])
def test_without_all_its_seeds_and_images_a_cell_is_not_run(done: Path, changes: dict[str, Any]) -> None:
    paper = load_paper(str(TINY))
    larger = paper.sizes["cpu"].model_copy(update=changes)
    record = record_of(survey(done / "runs", paper.model_copy(update={"sizes": {"cpu": larger}})), "tiny")
    cell = cells_of(record)["SL", "clean"]
    assert cell == {"row": "SL", "column": "clean", "unit": "share", "least": 0.0, "state": NOT_RUN}


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


def test_a_record_that_knows_more_than_the_runs_is_not_written_over(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "study", tmp_path / "study")
    before = (tmp_path / "study" / "tiny-cpu.json").read_bytes()
    with pytest.raises(
        ReinforcedError, match="measured cells whose runs are not below --runs, the first is SL"
    ):
        run_study(tmp_path / "none", tmp_path / "study")
    assert (tmp_path / "study" / "tiny-cpu.json").read_bytes() == before
    assert not (tmp_path / "none").exists()


def test_a_record_of_other_recipes_gives_way(done: Path, tmp_path: Path) -> None:
    """Cells whose row was changed in the study file are gone for good, so nothing is lost with them."""
    record = record_in(done / "study")
    for row in record["rows"]:
        row["command"] += " optimizer.lr=1"
    (tmp_path / "tiny-cpu.json").write_text(canonical(record))
    refuse_to_forget(tmp_path, record_of(survey(tmp_path / "none"), "tiny"))


def test_examples_are_made_on_the_next_seeds_model_and_on_the_diagonal_too(done: Path) -> None:
    found = survey(done / "runs")
    for label in ("SL", "RL"):
        for seed, after in ((0, 1), (1, 0)):
            own, source = found.run(label, seed), found.run("SL", after)
            assert own is not None
            assert source is not None
            (file,) = own.glob("measurements/transfer-*.json")
            kept = json.loads(file.read_text())
            assert (kept["model"], kept["surrogate"]) == (digest(own, "last"), digest(source, "last"))
            assert kept["attack"] == "mifgsm(loss=gap)"


def test_columns_that_need_all_seeds_come_last_and_wait_for_them(done: Path, tmp_path: Path) -> None:
    found = survey(done / "runs")
    jobs = list(found.jobs(tables_of(found.paper, "9.2")))
    transfers = [job for job in jobs if job.column is not None and job.column.id == "transfer"]
    assert jobs[-4:] == transfers
    assert [(job.label, job.seed) for job in transfers] == [("SL", 0), ("RL", 0), ("SL", 1), ("RL", 1)]
    shutil.copytree(done / "runs", tmp_path / "runs")
    short = survey(tmp_path / "runs")
    other = short.run("SL", 1)
    assert other is not None
    shutil.rmtree(other)
    with pytest.raises(InUse, match="a run that it needs is not finished"):
        survey(tmp_path / "runs").do(transfers[0], lambda _: None)


def test_a_row_of_one_seed_lends_no_model(done: Path) -> None:
    paper = load_paper(str(TINY))
    single = paper.sizes["cpu"].model_copy(update={"seeds": (0,)})
    found = survey(done / "runs", paper.model_copy(update={"sizes": {"cpu": single}}))
    with pytest.raises(ReinforcedError, match="row SL: has seed 0 alone"):
        found.reading("RL", 0, "transfer")
    assert found.known("RL", 0, "transfer") is None


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


def test_the_record_is_canonical(done: Path) -> None:
    text = (done / "study" / "tiny-cpu.json").read_text()
    assert text == canonical(json.loads(text))
    assert text.endswith("}\n")
    assert "seconds" not in text
    assert str(done) not in text


def test_dry_run_prints_what_is_left_and_trains_nothing(typed: Typed, tmp_path: Path) -> None:
    code, out, _ = typed(str(TINY), "--dry-run", "--table", "9.3")
    assert code == 0
    assert "table 9.3: fast, seed 0: train" in out
    assert "0 of 8" in out
    assert re.search(r"estimate: [1-9][0-9,]* passes, [0-9.]+ hours on one process", out)
    assert not (tmp_path / "runs").exists()


def test_the_command_writes_record_and_page(typed: Typed, done: Path) -> None:
    code, out, _ = typed(str(TINY), "--records", "typed", at=done)
    assert code == 0
    assert "kept in typed/tiny_study-cpu.json" in out
    (done / "typed.md.j2").write_text('SL: {{ cell("tiny_study-cpu", "SL", "clean") }}\n')
    code, out, _ = typed("page", "--records", "typed", at=done)
    assert code == 0
    assert (done / "typed.md").read_text().startswith("SL: ")
    assert (done / "typed" / "tiny_study-cpu-9.1.svg").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gupta"], "no study 'gupta'; did you mean 'gupta2020'?"),
        (["none.yaml"], "no study file none.yaml"),
        (["gupta2020", "--size", "cpus"], "study gupta2020 has no size 'cpus'; did you mean 'cpu'?"),
        (["gupta2020", "--table", "3.1", "3.9"], "study gupta2020 has no table '3.9'; did you mean '3.4'?"),
        (["gupta2020", "-o", "page.md"], "--out is of `reinforced reproduce page`"),
        (["page", "--records", "none"], "no template none.md.j2"),
        (["page", "--records", "study.json"], "--records study.json: give the folder"),
    ],
)
def test_a_wrong_name_is_one_line_with_the_nearest(typed: Typed, words: list[str], said: str) -> None:
    code, _, err = typed(*words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
