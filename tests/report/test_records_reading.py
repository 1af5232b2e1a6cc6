from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reinforced.errors import ReinforcedError
from reinforced.report.evaluations import first_of
from reinforced.report.reading import Reader
from reinforced.report.records import read_runs
from reinforced.report.reproduce import commands
from tests.report.made_up_runs import THREAT, MadeUp, make_run


def test_what_a_run_says(runs: list[Path]) -> None:
    first, second, other = read_runs(runs)
    assert (first.name, first.method, first.seed, second.seed) == ("rl-0", "made/rl", 0, 1)
    assert (first.slot, second.slot, other.slot) == (0, 0, 1)
    assert len(first.epochs) == len(first.column("validation_accuracy")) == 12
    assert math.isnan(first.column("no such column")[0])
    assert first.gaps == ()
    evaluation = first_of(first.evaluations, THREAT)
    assert evaluation is not None
    assert evaluation.outcomes is not None
    assert evaluation.outcomes.robust.mean() == pytest.approx(evaluation.robust_accuracy)
    assert evaluation.pictures is not None
    assert evaluation.pictures.clean.shape == (70, 1, 8, 8)
    assert [one.grade for one in first.verdicts[0].evidence] == ["witness", "mechanism"]
    assert (len(first.curves), len(first.transfers), len(first.indicators), len(first.landscapes)) == (
        1,
        1,
        1,
        1,
    )


@pytest.mark.parametrize(
    ("others", "left"),
    [
        ({"robust_accuracy": 0.1}, 0.1),
        ({"robust_accuracy": 0.1, "incomplete": True}, 0.5),
        ({"robust_accuracy": 0.6}, 0.5),
        ({"robust_accuracy": math.nan}, 0.5),
        ({"robust_accuracy": 0.1, "images": 69}, 0.5),
        ({"robust_accuracy": 0.1, "skip": 70}, 0.5),
        ({"robust_accuracy": 0.1, "checkpoint": "best"}, 0.5),
    ],
)
def test_the_evaluation_shown_is_not_the_weaker_one(
    runs: list[Path], others: dict[str, Any], left: float
) -> None:
    known = first_of(read_runs(runs[:1])[0].evaluations, THREAT)
    assert known is not None
    first, second = replace(known, robust_accuracy=0.5), replace(known, **others)
    for order in ([first, second], [second, first]):
        found = first_of(order, THREAT)
        assert found is not None
        assert found.robust_accuracy == left


def test_curves_and_transfers_are_under_the_threat_of_the_evaluations(tmp_path: Path) -> None:
    threats = ("linf:8/255", "linf:0.5/255", "linf:0.15", "linf:1e-05", "l2:1")
    (run,) = read_runs([make_run(tmp_path / "run", MadeUp(images=10, landscape=8, threats=threats))])
    assert {one.threat for one in run.evaluations} == set(threats)
    assert {one.threat for one in run.curves} == set(threats)
    assert {one.threat for one in run.transfers} <= set(threats)


def test_the_command_of_later_images_says_so(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MadeUp(images=10, landscape=8))
    (subject,) = run.glob("evaluations/*/*/subject.json")
    subject.write_text(json.dumps(json.loads(subject.read_text()) | {"skip": 10}))
    (record,) = read_runs([run])
    assert "--images 10 --skip 10 " in " ".join(commands(record))


def test_examples_are_those_of_their_rows(runs: list[Path]) -> None:
    (run,) = read_runs(runs[:1])
    found = run.evaluations[0]
    assert found.pictures is not None
    assert found.outcomes is not None
    examples = dict(found.examples("square", Reader(run.path)))
    attacked = np.flatnonzero(~np.isnan(found.outcomes.attacks["square"]))
    assert sorted(examples) == attacked.tolist()
    assert max(examples) >= 64, "a second chunk"
    for row, image in examples.items():
        assert np.abs(image - found.pictures.clean[row] / 255).max() <= 0.15 + 1e-6


def test_a_damaged_file_costs_itself(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MadeUp(images=10, landscape=8))
    folder = next((run / "evaluations").glob("*/made-up-*"))
    (run / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch"\n[]\n')
    (run / "summary.json").unlink()
    (run / "verdict.json").write_text("[1]")
    (folder / "outcomes.parquet").write_bytes(b"PAR1")
    (folder / "pictures.npz").write_bytes(b"PK")
    (folder / "evaluation.json").write_text(
        json.dumps({"robust_accuracy": None, "attacks": [3, {"name": 4}]})
    )
    (record,) = read_runs([run])
    assert sorted(Path(line.partition(":")[0]).name for line in record.gaps) == [
        "metrics.jsonl",
        "metrics.jsonl",
        "outcomes.parquet",
        "pictures.npz",
        "summary.json",
        "verdict.json",
    ]
    (found,) = record.evaluations
    assert math.isnan(found.robust_accuracy)
    assert found.threat == THREAT, "from the folder's name"
    assert found.outcomes is None
    assert [attack.name for attack in found.attacks] == ["unnamed"]
    assert len(record.epochs) == 1
    assert record.verdicts == ()
    assert len(record.landscapes) == 1


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", values=np.array([object()], dtype=object))
    reader = Reader(tmp_path)
    assert reader.arrays(tmp_path / "evil.npz") == {}
    assert len(reader.gaps) == 1


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / where / "run", MadeUp(images=4, landscape=8)) for where in ("a", "b")]
    assert [run.name for run in read_runs([*paths, paths[0]])] == [str(path) for path in paths]


def test_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match="no folder"):
        read_runs([tmp_path / "nowhere"])
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "recipe.yaml").write_text("name: x\n")
    with pytest.raises(ReinforcedError, match="folder of runs; name the runs in it"):
        read_runs([tmp_path])
