from __future__ import annotations

import math
from pathlib import Path

import pytest

from reinforced.report.evaluations import first_of
from reinforced.report.reading import Reader
from reinforced.report.records import RunRecord, read_runs
from reinforced.report.reproduce import citation, commands
from reinforced.report.tables import all_tables, comparisons, published, seeds, threats
from reinforced.report.verdicts import read_verdicts, stated
from tests.report.made_up_runs import THREAT, MadeUp, make_run, write


@pytest.fixture(scope="module")
def records(runs: list[Path]) -> tuple[RunRecord, ...]:
    return read_runs(runs)


def test_the_threat_of_most_runs_comes_first(records: tuple[RunRecord, ...]) -> None:
    assert threats(records) == (THREAT, "l2:1")


def test_cells_are_the_records(records: tuple[RunRecord, ...]) -> None:
    first = comparisons(records)[0]
    names = [head.name for head in first.heads]
    row = dict(zip(names, first.rows[0].cells, strict=True))
    found = first_of(records[0].evaluations, THREAT)
    assert found is not None
    assert row["Worst case"].key == found.robust_accuracy
    assert row["Worst case"].beneath.startswith("[")
    assert row["PGD"].key == found.accuracy("pgd")
    assert row["AutoAttack"].beneath == "paper 30.41"
    assert row["Query"].key is None
    assert row["Query"].shown.startswith("\N{MINUS SIGN}")
    assert row["Verdict"].shown == "✗ masked"
    assert row["Re-verified"].shown == "not yet"
    assert "As released" not in names, "nobody ran it"


def test_an_unfinished_worst_case_is_an_upper_bound(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MadeUp(images=6, landscape=8))
    (file,) = run.glob("evaluations/*/*/evaluation.json")
    file.write_text(file.read_text().replace('"incomplete": false', '"incomplete": true'))
    (row,) = comparisons(read_runs([run]))[0].rows
    assert any(cell.shown.startswith("≤ ") for cell in row.cells)


def test_runs_that_nobody_attacked(tmp_path: Path) -> None:
    write(tmp_path / "run" / "summary.json", {"test_accuracy": 0.5, "passes": float("nan")})
    (table,) = comparisons(read_runs([tmp_path / "run"]))
    assert [head.name for head in table.heads] == ["Model", "Clean"]
    assert table.rows[0].cells[1].shown == "50.0"


def test_papers_and_seeds(records: tuple[RunRecord, ...]) -> None:
    (row,) = published(records).rows
    assert row[:5] == ("rl-0", "robust", THREAT, "autoattack", 30.41)
    assert row[6] == pytest.approx(float(str(row[5])) - 30.41)
    methods = {(row[0], row[1]) for row in seeds(records).rows}
    assert methods == {("made/rl", THREAT)}, "the other has one seed"
    for table in all_tables(records):
        assert all(len(row) == len(table.heads) for row in table.rows)
        assert not any(isinstance(cell, float) and math.isnan(cell) for row in table.rows for cell in row)


def test_a_verification_of_other_outcomes_is_void(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", MadeUp(images=6, landscape=8))
    (file,) = run.glob("evaluations/*/*/evaluation.json")
    for digest, expected in (("a" * 64, True), ("b" * 64, None)):
        write(file.parent / "verification.json", {"holds": True, "matrix_sha256": digest})
        assert read_runs([run])[0].evaluations[0].verified is expected


def test_commands_are_typed_as_they_are(records: tuple[RunRecord, ...]) -> None:
    lines = list(commands(records[0]))
    assert lines[0].startswith("reinforced train ")
    assert any("--attacks 'pgd(steps=40)' autoattack square" in line for line in lines)
    assert any(line.startswith("reinforced evaluate") and line.endswith("--chunk 64") for line in lines)
    assert any(
        line.startswith("reinforced diagnose") and f"--claim 'pgd(steps=40)@{THREAT}'" in line
        for line in lines
    )
    assert "commit c0ffeec0ffee" in citation(records)


@pytest.mark.parametrize("examined", [True, False])
def test_nothing_is_shown_as_left_where_no_check_was_run(tmp_path: Path, examined: bool) -> None:
    share = {"count": 16, "share": 0.16, "interval": [0.1, 0.24]}
    write(tmp_path / "verdict.json", {"claimed": share, "residual": share, "examined": examined})
    (found,) = read_verdicts(Reader(tmp_path))
    assert found.claimed.share == 0.16
    assert math.isnan(found.residual.share) is not examined


@pytest.mark.parametrize(
    ("claim", "threat", "accuracy"),
    [
        ("pgd(steps=3)@linf:8/255=55%", "linf:8/255", "55%"),
        ("pgd@l2:0.5", "l2:0.5", ""),
        ("pgd@l2:0.5 certified smoothing:0.25", "l2:0.5", ""),
        ("pgd(eot=4)@l2:0.5=55% certified smoothing:0.25", "l2:0.5", "55%"),
        ("", "", ""),
    ],
)
def test_the_threat_of_a_claim(claim: str, threat: str, accuracy: str) -> None:
    assert stated(claim) == (threat, accuracy)
