"""TensorBoard and MLflow, read back by their own readers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from mlflow import MlflowClient
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from reinforced.errors import Interrupted, ReinforcedError
from reinforced.training.checkpoint import weights_hash
from reinforced.training.loop import train
from reinforced.training.progress import Silent
from reinforced.training.recipe import Recipe
from reinforced.training.run import RunDirectory
from reinforced.training.trackers import Tracking, attach_report, tracking

CPU = torch.device("cpu")
KINDS = ("tensorboard", "mlflow")
Make = Callable[..., Recipe]


class Kept(NamedTuple):
    """What a tracker holds of one run: its steps of a figure, with the figure, and what is attached."""

    loss: list[tuple[int, float]]
    test_accuracy: list[tuple[int, float]]
    attached: dict[str, str]


def in_tensorboard(folder: Path) -> list[Kept]:
    found = []
    for run in sorted((folder / "tensorboard").iterdir()):
        events = EventAccumulator(str(run)).Reload()
        loss, accuracy = (
            [(one.step, one.value) for one in events.Scalars(name)] if name in events.scalars.Keys() else []
            for name in ("loss", "test_accuracy")
        )
        texts = {
            tag.removesuffix("/text_summary"): b"".join(
                part for event in events.Tensors(tag) for part in event.tensor_proto.string_val
            ).decode()
            for tag in events.tensors.Keys()
        }
        found.append(Kept(loss, accuracy, texts))
    return found


def in_mlflow(folder: Path) -> list[Kept]:
    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("reinforced")
    assert experiment is not None
    found = []
    for run in client.search_runs([experiment.experiment_id], order_by=["start_time"]):
        assert run.info.status == "FINISHED"
        assert run.data.params["batch_size"] == "32"
        names = [file.path for file in client.list_artifacts(run.info.run_id)]
        where = Path(run.info.artifact_uri.removeprefix("file://"))
        loss, accuracy = (
            [(one.step, one.value) for one in client.get_metric_history(run.info.run_id, name)]
            for name in ("loss", "test_accuracy")
        )
        found.append(Kept(loss, accuracy, {Path(name).stem: (where / name).read_text() for name in names}))
    return found


READ = {"tensorboard": in_tensorboard, "mlflow": in_mlflow}


class StopIn(Silent):
    """Stops as a signal would, so many batches on."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def advance(self, images: int) -> None:
        self.batches -= 1
        if self.batches == 0:
            raise Interrupted("stopped", 143)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a tracker went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_tracked_once_however_often_it_is_resumed(make: Make, tmp_path: Path, kind: str) -> None:
    recipe, run, where = make(), tmp_path / "run's", Tracking([kind])
    train(recipe, tmp_path / "plain", device=CPU)
    with pytest.raises(Interrupted):
        train(recipe, run, device=CPU, reporter=StopIn(4), tracking=where)  # in the second epoch
    for _ in range(2):  # to the end, and once more when it is finished
        train(recipe, run, device=CPU, tracking=where)
    page = tmp_path / "report.html"
    page.write_text("<p>page</p>")
    attach_report(run, page, "| table |", where)

    directory = RunDirectory(run)
    (kept,) = READ[kind](tmp_path / "tracking")
    rows, summary = directory.metrics(), directory.summary()
    assert summary is not None
    assert [step for step, _ in kept.loss] == [1, 2]
    assert [value for _, value in kept.loss] == pytest.approx([row["loss"] for row in rows])
    ((step, accuracy),) = kept.test_accuracy
    assert step == 2
    assert accuracy == pytest.approx(summary["test_accuracy"])
    text = (run / "recipe.yaml").read_text()
    assert kept.attached["recipe"].removeprefix("```\n").removesuffix("```") == text
    assert kept.attached["report"] == ("<p>page</p>" if kind == "mlflow" else "| table |")

    plain = RunDirectory(tmp_path / "plain")
    assert weights_hash(directory.weights("last")) == weights_hash(plain.weights("last"))
    assert text == (tmp_path / "plain" / "recipe.yaml").read_text()
    own, others = ({file.relative_to(one) for file in one.rglob("*")} for one in (run, tmp_path / "plain"))
    assert own == others


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_trained_untracked_is_added_and_a_new_run_of_the_name_is_another(
    make: Make, tmp_path: Path, kind: str
) -> None:
    recipe, run, where = make(phases=[{"epochs": 1}]), tmp_path / "run", Tracking([kind], tmp_path / "there")
    train(recipe, run, device=CPU)
    train(recipe, run, device=CPU, tracking=where)
    run.rename(tmp_path / "earlier")
    train(recipe, run, device=CPU, tracking=where)
    found = READ[kind](tmp_path / "there")
    assert [[step for step, _ in one.loss] for one in found] == [[1], [1]]


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    with pytest.raises(
        ReinforcedError, match=r"mlflow, sqlalchemy, alembic: pip install 'reinforced\[track\]'"
    ):
        Tracking(["mlflow"])
    with pytest.raises(ReinforcedError, match=r"--track tensorboard needs tensorboard: pip install"):
        Tracking(["tensorboard"])


def test_an_unknown_tracker_is_refused() -> None:
    with pytest.raises(ReinforcedError, match="did you mean 'tensorboard'"):
        Tracking(["tensorbord"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_tracker_that_cannot_be_written_is_one_line(make: Make, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ReinforcedError, match=f"--track {kind} failed .*what was trained is saved"):
        train(make(), tmp_path / "run", device=CPU, tracking=Tracking([kind], tmp_path / "file"))
