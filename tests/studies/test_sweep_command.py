"""`reinforced sweep` as a user types it."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from reinforced.cli.sweep import _state_table
from reinforced.errors import ReinforcedError
from reinforced.studies.sweep.cost import estimate
from reinforced.studies.sweep.pools import Pool
from reinforced.studies.sweep.sweep import Sweep
from reinforced.training.adversaries import Trainee
from tests.studies.sweeping import small
from tests.typed import Typed, TypedIn


@pytest.fixture
def typed(tmp_path: Path, typed_at: TypedIn) -> Typed:
    return typed_at(tmp_path)


def test_a_dry_run_estimates_and_writes_nothing(tmp_path: Path, typed: Typed) -> None:
    small(tmp_path)
    code, out, _ = typed("sweep small.yaml --dry-run --device cpu")
    assert code == 0
    assert "quickstart-sl-seed1" in out
    assert "estimate: " in out
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_what_is_finished_is_neither_loaded_nor_timed(
    finished: Path, typed_at: TypedIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(finished)
    monkeypatch.setattr("reinforced.studies.sweep.cost.load", None)
    code, out, err = typed_at(finished)("sweep small.yaml --out out --dry-run --device cpu")
    assert (code, err) == (0, "")
    assert "2 entries, 0 of them not finished" in out


def test_steps_are_timed_as_training_makes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: dict[str, bool] = {}

    class Seen(Trainee):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            weights = [one for one in self.network.parameters() if one.dim() == 4]
            last = torch.channels_last
            laid_out = all(one.is_contiguous(memory_format=last) for one in (images, *weights))
            timed[self.precision] = timed.get(self.precision, True) and laid_out and self.network.training
            return super().forward(images)

    monkeypatch.setattr("reinforced.studies.sweep.cost.Trainee", Seen)
    sweep = small(tmp_path, seeds=[0], overrides={"precision": "bf16", "phases.0.epochs": 1})
    device = torch.device("cpu")
    (found,) = estimate(sweep.study, sweep.entries, device=device, threads=1, root=None)
    assert timed == {"bf16": True, "float32": True}
    assert found.seconds == found.training / found.speed + found.evaluation / found.attack_speed


def test_going_on_is_the_command_that_was_typed(
    tmp_path: Path, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(tmp_path).place.folder.parent.joinpath("small.yaml").rename(tmp_path / "my study.yaml")

    def stop(self: Sweep, pool: Pool) -> None:
        raise ReinforcedError(self.place.again)

    monkeypatch.setattr(Sweep, "run", stop)
    line = "reinforced sweep 'my study.yaml' --out o --workers 1 --data 'a b' --device cpu"
    code, _, err = typed(line.removeprefix("reinforced "))
    assert (code, err) == (2, f"error: {line}\n")


def test_the_board_shows_what_an_error_says(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=120)
    console.print(_state_table({"sl-seed0": "again: cannot read [/data/x] [link]"}, tmp_path))
    assert isinstance(console.file, StringIO)
    assert "again: cannot read [/data/x] [link]" in console.file.getvalue()


def test_mistakes_cost_one_line(tmp_path: Path, typed: Typed) -> None:
    small(tmp_path, overrides={"batch_size": 5000})
    for line, said in (
        ("sweep none.yaml", "no study file none.yaml"),
        ("sweep small.yaml --device cuda:1", "divides the GPUs itself"),
        ("sweep small.yaml --device cpu", "entry quickstart-sl-seed0: batch_size 5000 is larger"),
    ):
        code, _, err = typed(line)
        assert code == 2
        assert said in err
        assert err.count("\n") == 1
