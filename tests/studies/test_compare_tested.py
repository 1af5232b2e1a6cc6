"""What the comparison makes of evaluations, written by hand: their statistics are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from reinforced.attacks.intervals import clopper_pearson
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.studies.compare import compare
from reinforced.studies.statistics import mcnemar

Make = Callable[..., Path]
A = [True] * 6 + [False] * 4
B = [True] * 2 + [False] * 7 + [True]


@pytest.fixture
def two(make_run: Make) -> list[Path]:
    return [make_run("one", [0.5, 0.6]), make_run("other", [0.6, 0.5], batch_size=2)]


def test_checkpoints_with_intervals_and_mcnemar(two: list[Path], add_evaluation: Make) -> None:
    add_evaluation(two[0], A, autoattack_accuracy=0.5)
    add_evaluation(two[1], B, clean=[True] * 9 + [True])
    (test,) = compare(two).tests
    assert (test.images, test.terms.attacks, test.missing) == (10, ("fgsm",), ())
    one, other = test.checkpoints
    assert (one.robust.count, one.robust.share) == (6, 0.6)
    assert (one.robust.low, one.robust.high) == clopper_pearson(6, 10)
    assert one.autoattack is not None
    assert (one.autoattack.count, other.autoattack) == (5, None)
    robust, clean = test.pairs
    assert (robust.figure, robust.only_first, robust.only_second) == ("robust", 4, 1)
    assert robust.p == pytest.approx(mcnemar(4, 1)) == pytest.approx(2 * 6 / 32)
    assert robust.holm is None
    assert (clean.figure, clean.p) == ("clean", 1.0)
    assert test.differences == ()


def test_pairs_are_between_methods_and_adjusted(make_run: Make, add_evaluation: Make) -> None:
    runs = [
        make_run(f"{kind}{seed}", [0.5], seed=seed, batch_size=kind) for kind in (1, 2) for seed in (0, 1)
    ]
    for number, run in enumerate(runs):
        add_evaluation(run, [True] * 5 * number + [False] * (20 - 5 * number))
    (test,) = compare(runs).tests
    pairs = [pair for pair in test.pairs if pair.figure == "robust"]
    assert [(pair.first, pair.second) for pair in pairs] == [
        ("10", "20"),
        ("10", "21"),
        ("11", "20"),
        ("11", "21"),
    ]
    ps = [mcnemar(0, count) for count in (10, 15, 5, 10)]
    assert [pair.p for pair in pairs] == pytest.approx(ps)
    assert [pair.holm for pair in pairs] == pytest.approx([3 * ps[0], 4 * ps[1], ps[2], 3 * ps[0]])
    (alone,) = compare(runs[:2]).tests
    assert [(pair.first, pair.second) for pair in alone.pairs] == [("10", "11")] * 2


def test_methods_over_seeds(make_run: Make, add_evaluation: Make) -> None:
    runs = [
        make_run(f"{kind}{seed}", [0.5], seed=seed, batch_size=kind) for kind in (1, 2) for seed in (0, 1, 2)
    ]
    for number, run in enumerate(runs):
        add_evaluation(run, [True] * number + [False] * (10 - number))
    (test,) = compare(runs).tests
    robust, clean = test.differences
    assert (robust.figure, robust.at, robust.seeds) == ("robust", "last", (3, 3))
    assert robust.contrast.difference == pytest.approx(-0.3)
    assert robust.contrast.p == pytest.approx(0.1)
    assert clean.contrast.p == 1.0
    estimate = test.methods["made/sl batch_size=1"][0].figures["robust"]
    assert estimate is not None
    assert estimate.mean == pytest.approx(0.1)
    assert estimate.high == pytest.approx(0.1 + 4.302653 * 0.1 / 3**0.5, abs=1e-6)


def test_each_point_has_the_test_figures_of_its_own_epoch(two: list[Path], add_evaluation: Make) -> None:
    add_evaluation(two[0], A)
    add_evaluation(two[1], B)
    add_evaluation(two[1], A, checkpoint="best")
    (test,) = compare(two).tests
    points = {point.at: point for point in test.methods["made/sl batch_size=2"]}
    means = {name: point.figures["robust"] for name, point in points.items()}
    assert {name: figure and figure.mean for name, figure in means.items()} == {
        "last epoch": 0.3,
        "equal epochs": 0.3,
        "equal compute": 0.3,
        "best epoch": 0.6,
        "best minus last": pytest.approx(0.3),
    }
    assert [one.epoch for one in test.checkpoints] == [2, 1, 2]
    assert len(test.pairs) == 2
    # Of the first run's best weights, which are its last, the same evaluation serves.
    (best,) = compare(two, checkpoint="best").tests
    assert (best.pairs[0].only_first, best.pairs[0].only_second, best.missing) == (0, 0, ())


def test_only_what_shares_images_attacks_and_threat_is_compared(
    two: list[Path], add_evaluation: Make
) -> None:
    add_evaluation(two[0], A)
    add_evaluation(two[1], B[:9], data_sha256="nine images")
    found = compare(two)
    assert found.tests == ()
    assert "no two runs have an evaluation of their last weights" in found.notes[-1]
    add_evaluation(two[1], B, folder="same")
    add_evaluation(two[0], A, folder="more", attacks=("fgsm", "pgd"))
    add_evaluation(two[0], A, threat="l2:0.5")
    found = compare(two)
    (test,) = found.tests
    assert (test.terms.attacks, test.images) == (("fgsm",), 10)
    assert any(note.startswith("left aside") and note.endswith("and 1 more") for note in found.notes)
    assert any(note.startswith("l2:0.5: no two runs") for note in found.notes)
    assert compare(two, ThreatModel("l2", 0.5)).tests == ()
    with pytest.raises(ReinforcedError, match=r"no evaluation under l2:0\.6; did you mean 'l2:0\.5'"):
        compare(two, ThreatModel("l2", 0.6))


def test_different_data_with_the_same_test_images(make_run: Make, add_evaluation: Make) -> None:
    runs = [make_run("one", [0.5]), make_run("other", [0.5], sha256="cut", data={"source": "npz:cut.npz"})]
    for run in runs:
        add_evaluation(run, A)
    found = compare(runs)
    assert len(found.tests) == 1
    assert any("only their test figures compare" in note for note in found.notes)


def test_doubts_and_unchecked_weights_are_said(two: list[Path], add_evaluation: Make) -> None:
    add_evaluation(two[0], A, incomplete=True)
    add_evaluation(two[1], B, control={"robust_accuracy": 0.4, "broken": False})
    found = compare(two)
    assert ["INCOMPLETE" in one.doubts[0] for one in found.tests[0].checkpoints] == [True, False]
    assert "leave 40.0% of the undefended control" in found.tests[0].checkpoints[1].doubts[0]
    assert all("last weights cannot be loaded" in note for note in found.notes)


def test_damaged_evaluations_are_refused(two: list[Path], add_evaluation: Make) -> None:
    folder = add_evaluation(two[0], A, robust_accuracy=0.9)
    with pytest.raises(ReinforcedError, match="disagree; evaluate again"):
        compare(two)
    (folder / "outcomes.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReinforcedError, match=r"outcomes\.parquet: damaged"):
        compare(two)
    (folder / "evaluation.json").write_text("{}")
    with pytest.raises(ReinforcedError, match=r"damaged \(a field is missing or strange\)"):
        compare(two)
