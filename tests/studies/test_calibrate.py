"""The judge's calibration on two defences, with a diagnosis that only says something."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

from reinforced.cli import app
from reinforced.diagnostics.diagnose import Diagnosis
from reinforced.diagnostics.findings import Claim, Measured
from reinforced.diagnostics.statistics import Gain, Share
from reinforced.diagnostics.verdict import Label, Verdict
from reinforced.errors import ReinforcedError
from reinforced.studies import calibrate as module
from reinforced.studies.calibrate import Calibration, Reference, Row, beside_bases, calibrate, to_markdown
from reinforced.zoo import Bases

SAID: dict[str, tuple[Label, int]] = {"sl": ("not-robust", 100), "scaled": ("masked", 110)}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Replaces training, diagnosis and AutoAttack; holds what the diagnosis was asked."""
    calls: list[dict[str, Any]] = []

    def diagnose(model: nn.Module, images: Tensor, labels: Tensor, **given: Any) -> Diagnosis:
        calls.append({"model": model, "images": len(images), **given})
        label, residual = SAID[given["out"].parent.name]
        n, share = len(images), Share(300, len(images))
        verdict = Verdict(
            Claim.parse(str(given["claim"])), label, "So.", share, Share(residual, n),
            Share(300 - residual, n), share, Gain(0, 0, n), (), (), True, n, 7, given["budget"],
        )  # fmt: skip
        no = (False,) * n
        return Diagnosis(verdict, Measured(no, no, None, no, no, True, given["budget"], 7), ())

    nets: dict[tuple[str, int], nn.Module] = {}
    monkeypatch.setattr(Bases, "get", lambda self, name, seed: nets.setdefault((name, seed), Net().eval()))
    monkeypatch.setattr(module, "diagnose", diagnose)
    monkeypatch.setattr(module, "_reference", lambda *_: Reference(0.25, ("zero_gradients",)))
    return calls


def run(folder: Path, **options: Any) -> Calibration:
    return calibrate(folder, only=("sl", "scaled"), told=lambda _: None, **options)


def test_every_defence_of_every_seed_is_judged(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    told: list[str] = []
    found = calibrate(tmp_path, seeds=(0, 4), only=("scaled", "sl"), told=told.append)
    assert [(row.defence, row.seed) for row in found.rows] == [
        ("sl", 0), ("scaled", 0), ("sl", 4), ("scaled", 4),
    ]  # fmt: skip
    assert [row.outcome for row in found.rows] == ["right"] * 4
    assert {call["images"] for call in asked} == {600}
    assert all(call["control"] is not call["model"] for call in asked)
    assert asked[1]["out"] == tmp_path / "standard" / "seed0" / "scaled" / "diagnosis"
    assert any("4/4  seed 4  scaled  AutoAttack" in text for text in told)
    written = json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8"))
    assert written == json.loads(json.dumps(found.to_json()))
    assert not any(row.held_out for row in found.rows)  # both are in the set part


def test_the_tables_say_it(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    page = to_markdown(run(tmp_path, seeds=(0,)))
    assert (
        "| scaled * | 0 | pgd@linf:0.15 | 50.0% | 18.3% (sl: 16.7%) | masked | masked | right | 25.0% | "
        "zero_gradients | 0 |"
    ) in page
    assert "| not-robust | 0 | 0 | 0 | 1 | 0 | 1 |" in page
    assert "all: 2 judged, 0 false genuine, 2 right, 0 abstained, 0 wrong, 0 residual" in page


def test_the_command_prints_and_writes(tmp_path: Path, asked: list[dict[str, Any]]) -> None:
    given = ["calibrate", "--seeds", "0", "--only", "sl", "--only", "scaled", "--folder", str(tmp_path)]
    shown = CliRunner().invoke(app, [*given, "--markdown", str(tmp_path / "page.md")])
    assert shown.exit_code == 0, shown.output
    assert "held out: 0 judged" in shown.output
    assert (tmp_path / "page.md").read_text(encoding="utf-8").startswith("# Calibration of the judge")
    as_json = CliRunner().invoke(app, [*given, "--json"])
    values = json.loads(as_json.stdout)
    assert [row["label"] for row in values["rows"]] == ["not-robust", "masked"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--only", "scale"], "no defence 'scale'; did you mean 'scaled'"),
        (["--budget", "fast"], "no budget 'fast'"),
        (["--seeds", "-1"], "0 or more"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, words: list[str], reason: str) -> None:
    shown = CliRunner().invoke(app, ["calibrate", "--folder", str(tmp_path), *words])
    assert isinstance(shown.exception, ReinforcedError)
    assert reason in str(shown.exception)


def row(defence: str, label: Label, right: tuple[str, ...], **more: Any) -> Row:
    given = {"seed": 1, "held_out": True, "residual": 0.1, "seconds": 1.0, **more}
    return Row(
        defence=defence, claim="pgd@linf:0.15", label=label, right=right, reason="", claimed=0.5,
        reference=Reference(None, ()), **given,
    )  # fmt: skip


def test_counts_and_matrix() -> None:
    rows = (
        row("a", "genuine", ("genuine",)),
        row("b", "genuine", ("masked", "not-robust")),
        row("c", "inconclusive", ("genuine",), held_out=False),
        row("d", "not-robust", ("masked", "not-robust")),
    )
    found = Calibration(rows, "quick", 600, 1.0)
    assert [one.outcome for one in rows] == ["right", "wrong", "abstained", "right"]
    assert found.counts() == {
        "judged": 4, "false genuine": 1, "right": 2, "abstained": 1, "wrong": 1, "residual": 0,
        "flagged by AutoAttack": 0,
    }  # fmt: skip
    assert found.counts(held_out=True)["judged"] == 3
    assert found.matrix()["masked/not-robust"] == {
        "genuine": 1, "overstated": 0, "masked": 0, "not-robust": 1, "inconclusive": 0, "flagged": 0,
    }  # fmt: skip


def test_a_residual_must_not_be_above_the_bases() -> None:
    base, near = row("pgd-at", "genuine", ("genuine",)), row("w", "masked", ("masked",), keeps="pgd-at")
    far = row("v", "masked", ("masked",), keeps="pgd-at", residual=0.2)
    below = row("u", "masked", ("masked",), keeps="pgd-at", residual=0.0)
    alone = row("w", "masked", ("masked",), keeps="pgd-at", seed=2, residual=0.2)
    assert [one.outcome for one in beside_bases((base, near, far, below, alone))] == [
        "right", "right", "residual", "right", "right",
    ]  # fmt: skip


def test_seconds_add_up_over_calls_and_then_stay(tmp_path: Path) -> None:
    file = tmp_path / "seconds.json"

    def stopped() -> None:
        with module._clock(file):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert json.loads(file.read_text(encoding="utf-8"))["finished"] is False
    file.write_text('{"seconds": 5.0, "finished": false}', encoding="utf-8")
    with module._clock(file) as seconds:
        pass
    assert seconds() >= 5
    file.write_text('{"seconds": 9.0, "finished": true}', encoding="utf-8")
    with module._clock(file) as seconds:
        pass
    assert seconds() == 9


def test_the_claims_images_are_never_trained_on() -> None:
    from reinforced.data import load, to_float

    images, labels = module.claim_images()
    split = load("digits").train
    trained = to_float(split.batch(torch.arange(len(split)))[0])
    assert images.shape == (600, 1, 8, 8)
    assert labels.shape == (600,)
    assert len({image.numpy().tobytes() for image in images} & {t.numpy().tobytes() for t in trained}) == 0
