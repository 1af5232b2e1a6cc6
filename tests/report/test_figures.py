"""Each figure against the records it is drawn from, and against records that say little or nonsense."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reinforced.attacks.intervals import clopper_pearson
from reinforced.report.figure import Bars, Boxes, Figure, Heat, Line, Lines, Regions, Surface, Values
from reinforced.report.figures import FIGURES, draw_all
from reinforced.report.figures.comparison import CATEGORIES, comparison
from reinforced.report.figures.compute import compute
from reinforced.report.figures.entropy import entropy
from reinforced.report.figures.epsilon import epsilon
from reinforced.report.figures.landscape import landscape
from reinforced.report.figures.over_seeds import t_interval
from reinforced.report.figures.path import path
from reinforced.report.figures.static import static
from reinforced.report.figures.steps import steps
from reinforced.report.figures.training import training
from reinforced.report.figures.transfer import transfer
from reinforced.report.records import RunRecord, read_runs
from tests.report.made_up_runs import THREAT, MadeUp, folder_of, make_run, write

Runs = Sequence[RunRecord]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Three seeds of one method, and one of another."""
    folder = tmp_path_factory.mktemp("runs")
    made = [MadeUp(seed=seed) for seed in range(3)] + [MadeUp(recipe="quickstart/sl", strength=0.2)]
    return read_runs([make_run(folder / f"run-{number}", each) for number, each in enumerate(made)])


def spans(line: Line) -> Values:
    """(3, T): lower end, value and upper end."""
    assert line.low is not None
    assert line.high is not None
    return np.stack([line.low, line.y, line.high])


def lines(figure: Figure, panel: int = 0) -> tuple[Line, ...]:
    found = figure.panels[panel]
    assert isinstance(found, Lines)
    return found.lines


def test_everything_recorded_is_drawn_in_one_colour_a_method(runs: Runs) -> None:
    figures, absent = draw_all(runs)
    assert [line.split(":")[0] for line in absent] == ["Robust accuracy over iterations"]
    assert len({figure.key for figure in figures}) == len(figures) == len(FIGURES) - 1
    slots = {name.split(": ")[-1]: slot for figure in figures for name, slot, _ in figure.legend}
    assert slots == {"quickstart/rl": 0, "quickstart/sl": 1}
    for figure in figures:
        assert figure.caption.endswith(".")
        assert figure.alt
        assert all(table.rows for table in figure.tables())


def test_comparison_is_the_mean_of_the_seeds_or_the_share_of_the_images(runs: Runs) -> None:
    (figure,) = comparison(runs)
    (panel,) = figure.panels
    assert isinstance(panel, Bars)
    several, one = panel.bars
    shares = np.array([[run.evaluations[0].clean_accuracy] for run in runs[:3]])
    mean, low, high = t_interval(shares, 0, 1)
    assert (several.values[0], several.low[0], several.high[0]) == (mean[0], low[0], high[0])
    record = runs[3].evaluations[0]
    own = [record.clean_accuracy, record.accuracy("pgd"), record.autoattack_accuracy, record.robust_accuracy]
    np.testing.assert_array_equal(one.values, own)
    ends = [clopper_pearson(round(share * 96), 96) for share in own]
    np.testing.assert_array_equal(np.stack([one.low, one.high], axis=1), ends)
    assert "t-interval over 3 seeds" in figure.caption
    assert "96 test images" in figure.caption
    assert f"worst case {record.robust_accuracy:.1%}" in figure.alt


def test_curve_over_epsilon(runs: Runs) -> None:
    (figure,) = epsilon(runs)
    several, one = lines(figure)
    assert (several.span, one.span) == ("band", "bars")
    curve = runs[3].curves[0]
    np.testing.assert_array_equal(one.x[0], curve.at)
    np.testing.assert_array_equal(one.y, curve.robust_accuracy)
    np.testing.assert_array_equal(one.low, [low for low, _ in curve.intervals])
    np.testing.assert_allclose(spans(several)[0], several.y)  # the seeds say the same
    assert steps(runs) == []


def test_curves_of_seeds_at_other_places_are_joined(tmp_path: Path) -> None:
    for seed, places in ((0, (0.0, 0.1)), (1, (0.1, 0.2))):
        run = make_run(tmp_path / str(seed), MadeUp(seed=seed))
        points = [{"at": at, "robust_accuracy": 0.5 + 0.2 * seed, "interval": [0, 1]} for at in places]
        write(run / "evaluations" / folder_of(THREAT) / "over-epsilon.json", points)
    ((line,),) = (lines(figure) for figure in epsilon(read_runs([tmp_path / "0", tmp_path / "1"])))
    np.testing.assert_array_equal(line.x[0], [0, 0.1, 0.2])
    np.testing.assert_allclose(line.y, [0.5, 0.6, 0.7])
    assert line.low is not None
    assert np.isnan(line.low).tolist() == [True, False, True]


def test_training_curves(runs: Runs) -> None:
    (figure,) = training(runs)
    assert figure.choices == ("epoch", "passes", "seconds")
    several, one = lines(figure)
    clean = np.stack([run.column("validation_accuracy") for run in runs[:3]])
    mean, low, high = t_interval(clean, -1, 1)
    np.testing.assert_array_equal(several.y, mean)
    np.testing.assert_array_equal(several.low, low)
    np.testing.assert_array_equal(several.high, high)
    assert one.low is None
    np.testing.assert_array_equal(one.x[1], runs[3].column("passes"))
    gap = lines(figure, 2)[1].y
    trained, validated = (runs[3].column(f"{part}_accuracy") for part in ("train", "validation"))
    np.testing.assert_allclose(gap, np.subtract(trained, validated))


def test_probes_of_every_fifth_epoch_are_joined(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{k: v for k, v in r.items() if r["epoch"] % 5 == 0 or "robust" not in k} for r in rows]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in kept))
    (probe,) = lines(training(read_runs([run]))[0], 1)
    assert probe.markers
    np.testing.assert_array_equal(probe.x[0], [5, 10])
    np.testing.assert_allclose(
        probe.y, [rows[4]["robust_validation_accuracy"], rows[9]["robust_validation_accuracy"]]
    )


def test_path_of_one_seed_has_quantiles_of_images_and_of_several_an_interval(runs: Runs) -> None:
    (figure,) = path(runs)
    several, one = lines(figure)
    values = runs[3].indicators[0].values["path_norm"]
    low, middle, high = np.nanquantile(values, (0.25, 0.5, 0.75), axis=1)
    np.testing.assert_allclose(spans(one), np.stack([low, middle, high]))
    np.testing.assert_array_equal(one.x[0], range(10))
    np.testing.assert_array_equal(lines(figure, 1)[1].x[0], range(1, 11))
    medians = [np.nanmedian(run.indicators[0].values["path_norm"], axis=1) for run in runs[:3]]
    mean, low, high = t_interval(np.stack(medians), 0)
    np.testing.assert_allclose(spans(several), np.stack([low, mean, high]))
    bands = "Bands: 95 % t-interval over 3 seeds or 25th to 75th percentile of the images (one seed)."
    assert figure.caption.endswith(bands)
    assert any("path_progress" in line for line in figure.missing)


def test_static_indicators_pool_the_seeds(runs: Runs) -> None:
    (figure,) = static(runs)
    panel = figure.panels[0]
    assert isinstance(panel, Boxes)
    values = np.concatenate([run.indicators[0].values["gradient_norm(ce)"] for run in runs[:3]])
    sample = panel.boxes[0].samples[0]
    assert (sample.count, sample.undefined) == (93, 3)
    five = np.nanquantile(values, (0.05, 0.25, 0.5, 0.75, 0.95))
    assert (sample.q05, sample.q25, sample.q50, sample.q75, sample.q95) == pytest.approx(tuple(five))
    assert sample.mean == pytest.approx(np.nanmean(values))


def test_entropy_is_split_by_outcome(runs: Runs) -> None:
    (figure,) = entropy(runs)
    (panel,) = figure.panels
    assert isinstance(panel, Boxes)
    values = runs[3].indicators[0].values
    wrong = values["entropy"][1][~values["right"][1]]
    found = panel.boxes[1].samples[3]
    assert panel.categories[3] == "adversarial, wrong"
    assert found.count == len(wrong)
    assert found.q50 == pytest.approx(np.median(wrong))
    assert sum(sample.count for sample in panel.boxes[0].samples) == 3 * 2 * 32


def test_landscapes_share_their_scale_and_their_classes(runs: Runs) -> None:
    (figure,) = landscape(runs)
    surfaces = [panel for panel in figure.panels if isinstance(panel, Surface)]
    regions = [panel for panel in figure.panels if isinstance(panel, Regions)]
    assert len(surfaces) == len(regions) == 4
    grids = [run.landscapes[0].loss for run in runs]
    everything = (min(map(np.min, grids)), max(map(np.max, grids)))
    assert {panel.z.limits for panel in surfaces} == {everything}
    np.testing.assert_array_equal(surfaces[3].heights, grids[3])
    assert {panel.names for panel in regions} == {("0", "1", "2")}
    np.testing.assert_array_equal(regions[0].owners, runs[0].landscapes[0].decision)
    adversarial, random = lines(figure, 2)
    middle = 19  # of 40 points, the nearest to the image
    np.testing.assert_array_equal(adversarial.y, grids[0][middle])
    np.testing.assert_array_equal(random.y, grids[0][:, middle])
    assert "Slices lie 0.077 epsilon beside the image" in figure.caption


def test_more_classes_than_colours(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    file = next(run.rglob("landscape.npz"))
    arrays = dict(np.load(file))
    arrays["decision"] = np.arange(1600).reshape(40, 40) // 40
    np.savez(file, **arrays)
    panel = landscape(read_runs([run]))[0].panels[1]
    assert isinstance(panel, Regions)
    assert (panel.names[0], panel.names[-1], len(panel.names)) == ("0", "other classes", 10)
    assert np.bincount(panel.owners.ravel()).tolist() == [40] * 9 + [31 * 40]


def test_transfer_matrix_and_surrogates(tmp_path: Path) -> None:
    made = [make_run(tmp_path / name, MadeUp(recipe=name)) for name in ("one", "two")]
    file = next(made[0].rglob("evaluation.json"))
    values = json.loads(file.read_text())
    name = "transfer(via=mifgsm(steps=10,loss=ce),from=runs/two)"
    values["attacks"] = [{"name": name, "accuracy": 0.25, "attacked": 90, "broken": 60}]
    write(file, values)
    cells = {"one": {"two": {"robust_accuracy": 0.5}, "one": {"robust_accuracy": 0.75}}}
    write(made[0] / "evaluations" / folder_of(THREAT) / "transfer.json", cells)
    (made[1] / "evaluations" / folder_of(THREAT) / "transfer.json").unlink()
    (figure,) = transfer(read_runs(made))
    matrix, surrogates = figure.panels
    assert isinstance(matrix, Heat)
    assert isinstance(surrogates, Heat)
    assert (matrix.rows, matrix.columns) == (("one",), ("two", "one"))
    np.testing.assert_array_equal(matrix.values, [[0.5, 0.75]])
    at = surrogates.rows.index("two"), surrogates.columns.index("one")
    assert surrogates.values[at] == 0.25
    assert (surrogates.low[at], surrogates.high[at]) == clopper_pearson(24, 96)
    assert "25.0%" in figure.alt


def test_accuracy_against_compute(runs: Runs, tmp_path: Path) -> None:
    run = shutil.copytree(runs[3].path, tmp_path / "run")
    last = next((run / "evaluations" / folder_of(THREAT)).glob("made-up-*"))
    kept = shutil.copytree(last, last.with_name("kept"))
    values = json.loads((kept / "evaluation.json").read_text())
    write(kept / "evaluation.json", values | {"robust_accuracy": 0.5, "interval": [0.4, 0.6]})
    write(kept / "subject.json", {"checkpoint": "4"})
    other = shutil.copytree(last, last.with_name("other"))
    write(other / "evaluation.json", values | {"setup": {"attacks": ["fgsm"]}, "robust_accuracy": 0.9})
    (figure,) = compute(read_runs([run]))
    (line,) = lines(figure)
    np.testing.assert_allclose(np.stack(line.x), np.array([[4 * 3e4, 12 * 3e4], [4, 12], [6, 18]]))
    assert line.y.tolist() == [0.5, values["robust_accuracy"]]
    assert line.low is not None
    assert line.low[0] == 0.4


def _without(*names: str) -> Callable[[Path], None]:
    def remove(run: Path) -> None:
        for name in names:
            for file in list(run.rglob(name)):
                shutil.rmtree(file) if file.is_dir() else file.unlink()

    return remove


def _nonsense(run: Path) -> None:
    values = {"name": [1], "seed": "x", "accuracy": math.inf, "images": None, "threat": 3}
    for file in run.rglob("*.json"):
        file.write_text(json.dumps([values] if file.name.startswith("over-") else values))


def _nothing_is_a_number(run: Path) -> None:
    def emptied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: emptied(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [emptied(inner) for inner in value]
        return math.nan if isinstance(value, float) else value

    for file in [*run.rglob("*.json"), run / "metrics.jsonl"]:
        rows = [json.dumps(emptied(json.loads(line))) for line in file.read_text().splitlines()]
        file.write_text("\n".join(rows))
    for file in run.rglob("*.npz"):
        arrays = {
            name: np.full_like(a, math.nan if a.dtype.kind == "f" else 0) for name, a in np.load(file).items()
        }
        np.savez(file, **arrays)


def _odd_shapes(run: Path) -> None:
    for file in run.rglob("*.npz"):
        arrays = dict(np.load(file))
        for name in list(arrays):
            arrays[name] = arrays[name].ravel()[:1].reshape(1, 1, 1)
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    "damage",
    [
        _without("evaluations"),
        _without("diagnostics"),
        _without("metrics.jsonl", "summary.json"),
        _without("*.npz"),
        _without("outcomes.parquet", "subject.json"),
        _without("*.json"),
        _nonsense,
        _nothing_is_a_number,
        _odd_shapes,
    ],
)
def test_damaged_and_missing_records_cost_only_themselves(
    damage: Callable[[Path], None], tmp_path: Path, runs: Runs
) -> None:
    from reinforced.report.plotly import to_plotly

    damaged = make_run(tmp_path / "damaged", MadeUp(recipe="damaged"))
    damage(damaged)
    both = read_runs([damaged, runs[3].path])
    for records in (both, both[:1]):
        figures, absent = draw_all(records)
        assert figures or absent
        for figure in figures:
            json.dumps([to_plotly(figure), [table.rows for table in figure.tables()]], allow_nan=False)
    assert {figure.key for figure in draw_all(runs[3:])[0]} <= {figure.key for figure in draw_all(both)[0]}


def test_what_was_not_measured_is_named(runs: Runs) -> None:
    (figure,) = static(runs)
    assert "quickstart/rl: no saturation under linf:0.15" in figure.missing
    assert CATEGORIES == ("clean", "PGD", "AutoAttack", "worst case")
