"""Which of several records of a run is shown, and what tells them apart."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reinforced.report.evaluations import EvaluationRecord, precedence
from reinforced.report.figure import Heat
from reinforced.report.figures.compute import compute
from reinforced.report.figures.over_seeds import t_interval
from reinforced.report.figures.training import training
from reinforced.report.figures.transfer import transfer
from reinforced.report.page import _untested
from reinforced.report.reading import Reader
from reinforced.report.records import RunRecord, read_runs
from reinforced.report.reproduce import commands
from reinforced.report.tables import comparisons, published, seeds
from tests.report.made_up_runs import THREAT, MadeUp, folder_of, make_run, write
from tests.report.test_figures import lines

SMALL = MadeUp(images=12, landscape=8, published=True)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", SMALL)


def changed(run: Path, name: str, subject: dict[str, Any] | None = None, **values: Any) -> None:
    """Another evaluation of a run, like its first one but for what is given."""
    first = run / "evaluations" / folder_of(THREAT) / f"made-up-{SMALL.images}"
    other = shutil.copytree(first, first.with_name(name))
    for file, more in (("evaluation.json", values), ("subject.json", subject or {})):
        write(other / file, json.loads((other / file).read_text()) | more)


def own(run: RunRecord) -> EvaluationRecord:
    return max(run.evaluations, key=precedence)


def test_other_data_and_other_images_do_not_stand_for_the_run(run: Path) -> None:
    before = own(read_runs([run])[0])
    for name, subject in (("other", {"data": "npz:hard.npz"}), ("later", {"skip": 12})):
        changed(run, name, subject, robust_accuracy=0.0, clean_accuracy=0.1, images=5_000)
    (record,) = read_runs([run])
    assert len(record.evaluations) == 3
    assert own(record).folder == before.folder
    (row,) = comparisons([record])[0].rows
    assert before.clean_accuracy in [cell.key for cell in row.cells]
    assert record.evaluations[-1].data in ("", "npz:hard.npz")


def test_a_papers_clean_figure_is_beside_the_runs_own(run: Path) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("metric: robust", "metric: clean"))
    changed(run, "a-other", {"data": "npz:hard.npz"}, clean_accuracy=0.1)
    (record,) = read_runs([run])
    (row,) = published([record]).rows
    assert row[5] == pytest.approx(100 * own(record).clean_accuracy)


def test_compute_is_drawn_on_images_of_one_kind(run: Path) -> None:
    changed(run, "epoch", {"checkpoint": "4"}, robust_accuracy=0.5)
    changed(run, "epoch-seed", {"checkpoint": "4"}, robust_accuracy=0.25)
    changed(run, "epoch-later", {"checkpoint": "4", "skip": 12}, robust_accuracy=0.0)
    changed(run, "last-later", {"skip": 12}, robust_accuracy=0.0)
    (figure,) = compute(read_runs([run]))
    (line,) = lines(figure)
    assert line.y.tolist() == [0.25, own(read_runs([run])[0]).robust_accuracy]


def test_a_transfer_is_that_of_the_evaluation_shown(tmp_path: Path) -> None:
    made = [make_run(tmp_path / name, replace(SMALL, recipe=name)) for name in ("one", "two")]
    for name, accuracy, subject in (("b", 0.25, {}), ("a", 0.0, {"data": "npz:hard.npz"})):
        attack = {"name": f"transfer(via=mifgsm,from={made[1]})", "accuracy": accuracy, "broken": 1}
        changed(made[0], name, subject, attacks=[attack], robust_accuracy=0.0)
    (figure,) = transfer(read_runs(made))
    heat = figure.panels[-1]
    assert isinstance(heat, Heat)
    assert heat.values[heat.rows.index("two"), heat.columns.index("one")] == 0.25


def test_surrogates_of_one_name_are_not_mixed_up(tmp_path: Path) -> None:
    made = [make_run(tmp_path / where / "run", replace(SMALL, recipe=where)) for where in ("a", "b", "c")]
    attacks = [
        {"name": f"transfer(via=mifgsm,from={source})", "accuracy": accuracy, "broken": 1}
        for source, accuracy in ((made[1], 0.25), (made[2], 0.5), ("elsewhere/run", 0.75))
    ]
    changed(made[0], "lent", attacks=attacks, robust_accuracy=0.0)
    records = read_runs(made)
    heat = transfer(records)[0].panels[-1]
    assert isinstance(heat, Heat)
    column = heat.values[:, heat.columns.index(records[0].name)]
    found = dict(zip(heat.rows, column.tolist(), strict=True))
    assert [found[records[at].name] for at in (1, 2)] == [0.25, 0.5]
    assert found["elsewhere/run"] == 0.75


def test_a_verdict_on_kept_weights_is_not_the_last_ones(run: Path) -> None:
    verdict = json.loads((run / "verdict.json").read_text())
    write(run / "verdict.json", verdict | {"folder": "ab12-quick-100-best"})
    (record,) = read_runs([run])
    assert [one.checkpoint for one in record.verdicts] == ["best"]
    write(run / "diagnostics" / "ab12-quick-100" / "verdict.json", verdict | {"label": "genuine"})
    (record,) = read_runs([run])
    assert [(one.checkpoint, one.label) for one in record.verdicts] == [
        ("last", "genuine"),
        ("best", "masked"),
    ]
    assert any("--checkpoint best" in line for line in commands(record) if " diagnose " in line)


def test_a_run_again_is_no_second_sample(tmp_path: Path) -> None:
    made = [
        make_run(tmp_path / str(number), replace(SMALL, seed=seed)) for number, seed in enumerate((0, 0, 1))
    ]
    table = seeds(read_runs(made))
    assert {row[table.heads.index("seeds")] for row in table.rows} == {2}


def test_a_name_is_untested_once(run: Path, tmp_path: Path) -> None:
    changed(run, "second")
    whole = make_run(tmp_path / "whole", replace(SMALL, seed=1))
    (file,) = whole.glob("evaluations/*/*/evaluation.json")
    write(file.parent / "verification.json", {"holds": True, "matrix_sha256": "a" * 64})
    said = dict(_untested(read_runs([run, whole]), [], []))["Not tested"]
    assert [line for line in said if "examples under" in line] == [f"the examples under {THREAT} again (run)"]


def test_an_accuracy_has_no_interval_below_zero(tmp_path: Path) -> None:
    made = [make_run(tmp_path / str(seed), replace(SMALL, seed=seed)) for seed in range(2)]
    for seed, run in enumerate(made):
        row = {"epoch": 1, "validation_accuracy": 0.1 + 0.3 * seed, "robust_validation_accuracy": 0.0}
        (run / "metrics.jsonl").write_text(json.dumps(row))
    line = lines(training(read_runs(made))[0])[0]
    assert line.low is not None
    assert t_interval(np.array([[0.1], [0.4]]), -1, 1)[1][0] < 0 == line.low[0]


@pytest.mark.parametrize("text", ["date: 2026-13-45", "a: 0x", "? [a]\n: 1", "a: &b [*b]", "a: !!int x"])
def test_odd_yaml_is_a_gap(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    Reader(tmp_path).yaml(tmp_path / "recipe.yaml")  # no traceback


def options(line: str) -> Callable[[str], Sequence[str]]:
    words = shlex.split(line)

    def of(name: str) -> Sequence[str]:
        after = words[words.index(name) + 1 :] if name in words else []
        ends = [at for at, word in enumerate(after) if word.startswith("--")]
        return after[: ends[0]] if ends else after

    return of


def test_commands_hold_what_was_given(run: Path) -> None:
    lent = ["pgd", "transfer(via=mifgsm(steps=10),from=runs/other)"]
    setup = {"attacks": lent, "seed": 3, "chunk": 64}
    changed(run, "lent", {"skip": 12, "data": "npz:hard.npz", "checkpoint": "best"}, setup=setup)
    (record,) = read_runs([run])
    (line,) = [one for one in commands(record) if "hard.npz" in one]
    of = options(line)
    assert (of("--attacks"), of("--surrogates")) == (["pgd"], ["runs/other"])
    assert [of(f"--{name}")[0] for name in ("skip", "source", "checkpoint", "seed")] == [
        "12",
        "npz:hard.npz",
        "best",
        "3",
    ]
    (curve,) = [one for one in commands(record) if "--curve" in one]
    assert options(curve)("--images") == ["300"]
    (drawn,) = [one for one in commands(record) if " landscape " in one]
    assert [options(drawn)(f"--{name}")[0] for name in ("size", "span", "steps")] == ["8", "3", "20"]
