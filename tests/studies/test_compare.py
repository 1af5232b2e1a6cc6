from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.studies.compare import Comparison, compare
from reinforced.studies.points import Point

Make = Callable[..., Path]
RL = {"phases": [{"epochs": 4, "objective": {"kind": "reinforce"}}]}
PROBE = {"threat": "linf:0.1", "select": True}


def at(found: Comparison, method: int, name: str) -> Point:
    (point,) = [point for point in found.methods[method].points if point.at == name]
    return point


def mean(point: Point, figure: str) -> float:
    estimate = point.figures[figure]
    assert estimate is not None
    return estimate.mean


def test_equal_epochs_equal_compute_best_and_drop(make_run: Make) -> None:
    cheap = make_run("cheap", [0.5, 0.6, 0.7], passes=100)
    dear = make_run("dear", [0.1, 0.4, 0.9, 0.9, 0.6], passes=150, name="made/rl", **RL)
    found = compare([cheap, dear])
    assert (found.equal_epochs, found.equal_passes) == (3, 300)
    assert [method.label for method in found.methods] == ["made/sl", "made/rl"]
    assert [at(found, 1, name).epochs for name in ("last epoch", "equal epochs", "equal compute")] == [
        (5,),
        (3,),
        (2,),  # the third would end with 450 passes
    ]
    assert mean(at(found, 1, "equal compute"), "validation") == pytest.approx(0.4)
    assert mean(at(found, 1, "equal compute"), "passes") == 300
    assert mean(at(found, 1, "equal compute"), "gap") == pytest.approx(0.6)
    assert at(found, 1, "best epoch").epochs == (3,)  # the first of equals
    assert mean(at(found, 1, "best minus last"), "validation") == pytest.approx(0.3)
    assert at(found, 0, "last epoch").figures["robust_validation"] is None
    assert at(found, 0, "best minus last").figures["robust_validation"] is None
    assert found.methods[1].runs[0].test_accuracy == 0.75


def test_an_epoch_dearer_than_all_of_another_run_is_not_reached(make_run: Make) -> None:
    cheap = make_run("cheap", [0.5, 0.6], passes=10)
    found = compare([cheap, make_run("dear", [0.5], passes=21, batch_size=2)])
    assert at(found, 1, "equal compute").epochs == (None,)
    assert at(found, 1, "equal compute").figures["validation"] is None


def test_the_best_epoch_is_by_what_chose_the_weights(make_run: Make) -> None:
    clean = make_run("clean", [0.5, 0.9, 0.8])
    robust = make_run("robust", [0.5, 0.9, 0.8], robust=[0.3, None, 0.2], probe=PROBE)
    found = compare([clean, robust])
    assert [method.chosen_by for method in found.methods] == [
        "validation_accuracy",
        "robust_validation_accuracy",
    ]
    assert [at(found, method, "best epoch").epochs for method in (0, 1)] == [(2,), (1,)]
    assert mean(at(found, 1, "best minus last"), "robust_validation") == pytest.approx(0.1)


def test_after_a_roll_back_the_figures_are_of_the_sound_weights(make_run: Make) -> None:
    rows = {
        1: {"robust_train_accuracy": 0.4},
        2: {"robust_train_accuracy": 0.0, "collapsed": True, "rolled_back": True},
    }
    rolled = make_run("rolled", [0.5, 0.9], rows=rows, probe={"on_collapse": "roll_back"})
    found = compare([rolled, make_run("other", [0.5, 0.6])])
    last = at(found, 0, "last epoch")
    assert (mean(last, "validation"), mean(last, "passes"), last.epochs) == (0.5, 600, (2,))
    assert at(found, 0, "best epoch").epochs == (1,)


def test_seeds_are_one_method_and_labels_tell_what_differs(make_run: Make) -> None:
    runs = [
        make_run(f"s{seed}", [0.5 + seed / 10], seed=seed, size="cpu" if seed else "full")
        for seed in (2, 0, 1)
    ]
    runs.append(make_run("fast", [0.5], optimizer={"kind": "adamw", "lr": 0.5}, keep_every=1))
    found = compare(runs)
    assert [[run.name for run in method.runs] for method in found.methods] == [["s0", "s1", "s2"], ["fast"]]
    assert [method.label for method in found.methods] == [
        "made/sl optimizer.lr=0.001",
        "made/sl optimizer.lr=0.5",
    ]
    estimate = at(found, 0, "last epoch").figures["validation"]
    assert estimate is not None
    assert estimate.n == 3
    assert estimate.mean == pytest.approx(0.6)
    # Standard deviation 0.1, t of two degrees of freedom 4.302653.
    assert estimate.low == pytest.approx(0.6 - 4.302653 * 0.1 / 3**0.5, abs=1e-6)
    assert at(found, 0, "last epoch").values["validation"] == (0.5, 0.6, 0.7)


def test_three_seeds_each_are_compared_as_methods(make_run: Make) -> None:
    runs = [make_run(f"a{seed}", [0.1 * seed], seed=seed) for seed in (1, 2, 3)]
    runs += [make_run(f"b{seed}", [0.1 * seed + 0.5], seed=seed, name="made/rl", **RL) for seed in (1, 2, 3)]
    found = compare(runs)
    assert {one.at for one in found.differences} == {
        "last epoch",
        "equal epochs",
        "equal compute",
        "best epoch",
    }
    first = found.differences[0]
    assert (first.figure, first.first, first.second, first.seeds) == (
        "validation",
        "made/sl",
        "made/rl",
        (3, 3),
    )
    assert first.contrast.difference == pytest.approx(-0.5)
    assert first.contrast.p == pytest.approx(0.1)
    assert first.contrast.smallest_p == pytest.approx(0.1)
    assert first.holm is None
    assert not compare(runs[:5]).differences


def test_three_methods_are_adjusted(make_run: Make) -> None:
    runs = [
        make_run(f"{name}{seed}", [0.1 * seed + shift], seed=seed, name=name, batch_size=size)
        for name, size, shift in (("a", 1, 0.0), ("b", 2, 0.5), ("c", 3, 0.5))
        for seed in (1, 2, 3)
    ]
    found = [one for one in compare(runs).differences if one.at == "last epoch"]
    assert [one.holm for one in found] == pytest.approx([0.3, 0.3, 1.0])


def test_differences_need_the_same_validation_images_and_the_same_probe(make_run: Make) -> None:
    def runs(letter: str, **other: object) -> list[Path]:
        first = [
            make_run(f"{letter}a{seed}", [0.5], robust=[0.1 * seed], seed=seed, probe=PROBE)
            for seed in (1, 2, 3)
        ]
        changed = {"probe": PROBE, **other}
        return first + [
            make_run(f"{letter}b{seed}", [0.5], robust=[0.2], seed=seed, batch_size=2, **changed)
            for seed in (1, 2, 3)
        ]

    same = compare(runs("x"))
    assert {one.figure for one in same.differences} == {"validation", "robust_validation"}
    assert same.notes == ()
    probed = compare(runs("y", probe={**PROBE, "steps": 20}))
    assert {one.figure for one in probed.differences} == {"validation"}
    assert "probes differ" in probed.notes[0]
    limited = compare(runs("z", data={"source": "cifar10", "limit": 100}))
    assert limited.differences == ()
    assert "validated on different images" in limited.notes[0]


def test_unfinished_and_imported_runs_are_said(make_run: Make) -> None:
    halfway = make_run("halfway", [0.5], finished=False)
    imported = make_run("ppo", [], name="imported/ppo")
    whole = make_run("whole", [0.5, 0.6, 0.7], batch_size=2)
    found = compare([halfway, imported, whole])
    assert found.equal_epochs == 1  # the imported policy's none set no limit
    assert "halfway is unfinished, 1 epochs so far" in found.notes[0]
    assert "ppo was imported" in found.notes[1]
    assert at(found, 1, "last epoch").figures["validation"] is None
    assert found.methods[1].runs[0].state == "finished"


def test_everything_is_plain_json(make_run: Make, add_evaluation: Make) -> None:
    one, other = make_run("one", [0.5]), make_run("other", [0.6], batch_size=2)
    for run in (one, other):
        add_evaluation(run, [True, False])
    values = json.loads(json.dumps(compare([one, other]).to_json(), allow_nan=False))
    assert values["tests"][0]["terms"]["threat"] == "linf:0.1"
    assert values["methods"][0]["points"][0]["figures"]["validation"]["mean"] == 0.5


def test_bad_input_is_one_line(make_run: Make, tmp_path: Path) -> None:
    one, other = make_run("one", [0.5]), make_run("other", [0.6], batch_size=2)

    def said(*runs: Path, threat: ThreatModel | None = None, checkpoint: str = "last") -> str:
        with pytest.raises(ReinforcedError) as caught:
            compare(runs, threat, checkpoint)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "two runs or more, got 1" in said(one)
    assert "is given twice" in said(one, other, tmp_path / "one" / ".." / "one")
    assert "folder of runs; name the runs in it" in said(one, tmp_path)
    assert "no run directory" in said(one, tmp_path / "nowhere")
    assert "no evaluation under linf:0.1" in said(one, other, threat=ThreatModel("linf", 0.1))
    assert "give last, best or a kept epoch" in said(one, other, checkpoint="first")
    assert "same recipe with the same seed 0" in said(one, make_run("again", [0.7]))
    assert "of different data" in said(one, make_run("elsewhere", [0.5], sha256="other images"))
    assert "has not finished an epoch" in said(one, make_run("begun", [], finished=False))
    shutil.copytree(other, tmp_path / "bare")
    (tmp_path / "bare" / "environment.json").unlink()
    assert "images are unknown" in said(one, tmp_path / "bare")
    (tmp_path / "bare" / "metrics.jsonl").write_text('{"epoch": 2, "passes": 1}\n')
    assert "not a row an epoch" in said(one, tmp_path / "bare")
