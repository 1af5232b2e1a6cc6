"""A study on digits: jobs, resuming, and the figures of its record."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from reinforced.errors import InUse, ReinforcedError
from reinforced.files import locked
from reinforced.studies.reproduce.imagewise import unpacked
from reinforced.studies.reproduce.measures.base import digest
from reinforced.studies.reproduce.paper import load_paper
from reinforced.studies.reproduce.records import NOT_RUN, canonical
from tests.studies.tiny_study import TINY, cells_of, record_in, run_study, survey, tables_of


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
from tests.studies.tiny_study import run_study

def told(text):
    if text == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)

run_study(Path(sys.argv[1]), Path(sys.argv[2]), "9.1", told=told)
"""


def test_killed_and_resumed_it_gives_the_same_records(done: Path, tmp_path: Path) -> None:
    runs, records = tmp_path / "runs", tmp_path / "study"
    at = "table 9.1: RL, seed 0: fgsm@2: verifying"
    words = [sys.executable, "-c", KILLED, str(runs), str(records), at, str(Path(__file__).parents[2])]
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


def test_what_another_process_was_at_is_looked_at_again(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    for file in (tmp_path / "runs").glob("reproduce/*/measurements/test-*.json"):
        file.unlink()
    run = survey(tmp_path / "runs").run("SL", 0)
    assert run is not None
    told: list[str] = []
    other = ExitStack()
    other.enter_context(locked(run / "reproduce.lock", "--runs"))

    def tell(text: str) -> None:
        told.append(text)
        if text == "table 9.1: RL, seed 0: clean":
            other.close()

    with other:
        assert run_study(tmp_path / "runs", tmp_path / "study", "9.1", told=tell).busy == ()
    assert told.count("table 9.1: SL, seed 0: clean") == 2
    assert cells_of(record_in(tmp_path / "study"))["SL", "clean"]["state"] == "measured"
    with locked(run / "reproduce.lock", "--runs"):
        for file in run.glob("measurements/test-*.json"):
            file.unlink()
        (job,) = run_study(tmp_path / "runs", tmp_path / "none", "9.1").busy
    assert (job.label, job.seed) == ("SL", 0)


def test_ctrl_c_says_how_to_go_on(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "runs", tmp_path / "runs")
    for file in (tmp_path / "runs").glob("reproduce/*/measurements/test-*.json"):
        file.unlink()

    def told(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(ReinforcedError, match=r"go on with `the command`") as stopped:
        run_study(tmp_path / "runs", tmp_path / "study", told=told)
    assert getattr(stopped.value, "exit_code", 0) == 130


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


def test_the_record_is_canonical(done: Path) -> None:
    text = (done / "study" / "tiny-cpu.json").read_text()
    assert text == canonical(json.loads(text))
    assert text.endswith("}\n")
    assert "seconds" not in text
    assert str(done) not in text
