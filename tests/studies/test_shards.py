from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from reinforced.attacks.base import AttackSettings, Batch, run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.square import Square
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.diagnose import diagnose
from reinforced.errors import ReinforcedError
from reinforced.studies.actors import TRIES, share_of
from reinforced.studies.evaluations import Plan, evaluate_subject
from reinforced.studies.shards import Asked, Attacker, Attackers, Worker, Workers, sharing, sharing_attacks
from reinforced.studies.subjects import Source, load_subject
from reinforced.studies.sweep.shares import Share
from reinforced.training.loop import train
from reinforced.training.recipes import load_recipe

THREAT = ThreatModel("linf", 0.15)
ATTACKS = ("fgsm", "pgd(steps=2)", "pgd-as-released(steps=2)")
CPU = torch.device("cpu")


class RayError(Exception):
    pass


class RayActorError(RayError):
    pass


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__("a traceback\nof many lines")
        self.cause = cause


class Reference:
    """To what a call gave, or raised."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome


class InProcess:
    """Ray's calls, carried out at once; an actor dies at each call whose number is in ``deaths``.

    There is room for so many actors to begin.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayActorError=RayActorError, RayTaskError=RayTaskError)

    def __init__(self, deaths: tuple[int, ...] = (), room: int = 99) -> None:
        self.deaths, self.room = deaths, room
        self.actors = 0
        self.calls: list[tuple[Any, ...]] = []

    def remote(self, **options: Any) -> Callable[[Callable[..., Any]], Any]:
        return lambda kind: SimpleNamespace(remote=partial(self._actor, kind))

    def _actor(self, kind: Callable[..., Any], *arguments: Any) -> Any:
        self.actors += 1
        actor = kind(*arguments)
        methods = {
            name: SimpleNamespace(remote=partial(self._call, getattr(actor, name)))
            for name in ("work", "attack")
            if hasattr(actor, name)
        }
        return SimpleNamespace(process=SimpleNamespace(remote=lambda: Reference(1)), **methods)

    def _call(self, method: Callable[..., Any], *arguments: Any) -> Reference:
        self.calls.append(arguments)
        if len(self.calls) in self.deaths:
            return Reference(RayActorError("the actor is dead"))
        try:
            return Reference(method(*copy.deepcopy(arguments)))  # as over a wire
        except ReinforcedError as error:
            return Reference(RayTaskError(error))

    def put(self, value: Any) -> Any:
        return value

    def wait(
        self, references: list[Reference], num_returns: int, timeout: float | None = None
    ) -> tuple[list[Reference], list[Reference]]:
        ready = min(num_returns, len(references)) if timeout is None else min(self.room, len(references))
        return references[:ready], references[ready:]

    def available_resources(self) -> dict[str, float]:
        return {"CPU": 7.0, "GPU": 0.5}

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}}]

    def get(self, reference: Any) -> Any:
        if isinstance(reference, list):
            return [self.get(one) for one in reference]
        if isinstance(reference.outcome, Exception):
            raise reference.outcome
        return reference.outcome


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "sl"
    train(load_recipe("quickstart/sl", overrides=["phases.0.epochs=1"]), folder, device=CPU)
    return folder


def asked(run: Path, copy: Path, *, attacks: tuple[str, ...] = ATTACKS, control: bool = True) -> Asked:
    shutil.copytree(run, copy)
    source = Source(images=200)
    return Asked(
        (str(copy),), (), str(run) if control else None, source, attacks, 0, False, None, copy, "cpu", copy
    )


def told(attack: str, chunk: int, broken: int) -> None:
    """Tell nobody."""


def merged(run: Path, control: Path) -> dict[str, Any]:
    """The record of one process that goes on with what is there; no seconds."""
    given = Source(images=200)
    subject = load_subject(str(run), given, CPU, run)
    plan = Plan(ATTACKS, {}, load_subject(str(control), given, CPU, run).model, 0, False, (1, 1))
    folder, found = evaluate_subject(subject, THREAT, plan, told)
    assert found is not None
    record: dict[str, Any] = json.loads((folder / "evaluation.json").read_text())
    for one in (*record["attacks"], *record["as_released"]):
        del one["seconds"]
    return record


@pytest.mark.parametrize("deaths", [(), (1,), (2, 3)])
def test_the_chunks_of_dead_workers_are_done_by_others(
    deaths: tuple[int, ...], run: Path, tmp_path: Path
) -> None:
    ray = InProcess(deaths)
    workers = Workers(ray, asked(run, tmp_path / "shared"), Share(2, 1, 0))
    workers.work(str(tmp_path / "shared"), THREAT, 200, told)
    assert sorted({call[-1] for call in ray.calls}) == [(number, 4) for number in range(1, 5)]
    assert len(ray.calls) == 4 + len(deaths)
    assert ray.actors == 2 + len(deaths)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*-0*.npz")}
    assert (
        len(files) == 2 * 4 + 2 + 2 * 4
    )  # chunks of the model, its batches as released, the control's chunks
    shutil.copytree(run, tmp_path / "alone")
    assert merged(tmp_path / "shared", run) == merged(tmp_path / "alone", run)
    assert {path: path.stat().st_mtime_ns for path in files} == files  # merging did nothing again


def test_a_chunk_that_kills_its_workers_is_given_up(run: Path, tmp_path: Path) -> None:
    ray = InProcess(tuple(range(1, 20)))
    workers = Workers(ray, asked(run, tmp_path / "shared"), Share(1, 1, 0))
    with pytest.raises(ReinforcedError, match=f"chunk 1 has cost {TRIES} workers.*the actor is dead"):
        workers.work(str(tmp_path / "shared"), THREAT, 200, told)


def test_a_mistake_found_by_a_worker_is_one_line(run: Path, tmp_path: Path) -> None:
    wrong = asked(run, tmp_path / "shared", attacks=("rays",), control=False)
    workers = Workers(InProcess(), wrong, Share(1, 1, 0))
    with pytest.raises(ReinforcedError, match="does not work in l2") as caught:
        workers.work(str(tmp_path / "shared"), ThreatModel("l2", 0.5), 200, told)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attack", [PGD(steps=3, restarts=2), Square(queries=5)])
def test_an_attack_of_a_diagnosis_is_shared_exactly(attack: AttackSettings, run: Path) -> None:
    subject = load_subject(str(run), Source(images=150), CPU, run)
    given = (attack, subject.model, subject.images, subject.labels, THREAT)
    ray = InProcess(deaths=(2,))
    shared, whole = Attackers(ray, Share(2, 1, 0), "cpu").run(*given, seed=3), run_attack(*given, seed=3)
    assert len(ray.calls) == 3 + 1
    for name, value in vars(whole).items():
        found = getattr(shared, name)
        if isinstance(value, torch.Tensor):
            assert torch.equal(found.nan_to_num(-1), value.nan_to_num(-1)), name
        elif name != "seconds":
            assert found == value, name


def test_a_diagnosis_shares_its_claimed_attack_and_its_checks(run: Path) -> None:
    subject = load_subject(str(run), Source(images=70), CPU, run)
    ray = InProcess()
    given = {"claim": "fgsm@linf:0.15", "budget": "quick", "control": subject.model}
    attackers = Attackers(ray, Share(2, 1, 0), "cpu")
    shared = diagnose(subject.model, subject.images, subject.labels, run=attackers.run, **given)  # type: ignore[arg-type]
    assert shared == diagnose(subject.model, subject.images, subject.labels, **given)  # type: ignore[arg-type]
    assert len(ray.calls) >= 4


def test_workers_share_gpus_and_those_that_never_begin_are_said() -> None:
    assert share_of(InProcess(), 4, "auto") == Share(4, 1, 0.25)
    assert share_of(InProcess(), 4, "cpu") == Share(4, 1, 0)
    with pytest.raises(ReinforcedError, match=r"2 of 3 workers .* free on the cluster are 7 cores") as caught:
        Attackers(InProcess(room=1), Share(3, 1, 1.0), "cpu")
    assert "\n" not in str(caught.value)


def test_a_worker_attacks_on_its_own_device(run: Path) -> None:
    subject = load_subject(str(run), Source(images=20), CPU, run)
    moved: list[torch.device] = []

    class Moving(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = subject.model

        def to(self, device: torch.device) -> Moving:  # type: ignore[override]
            moved.append(device)
            return self

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.inner(images)
            return found

    given = (PGD(steps=1), Moving().eval(), Batch(subject.images, subject.labels), THREAT, {"seed": 0})
    Attacker(1, "cpu").attack(*given)
    assert moved == [CPU]
    with pytest.raises(ReinforcedError, match="no such device"):
        Attacker(1, "cuda:99")


def test_a_folder_that_a_node_lacks_is_one_line(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ReinforcedError, match=r"cannot enter .*nowhere .*that all nodes have"):
        Worker(replace(asked(run, tmp_path / "shared"), cwd=tmp_path / "nowhere"), 1)


def test_without_a_cluster_attacks_run_here() -> None:
    with sharing_attacks(None, None, "cpu") as run_here:
        assert run_here is run_attack
    with pytest.raises(ReinforcedError, match="goes with --ray"), sharing_attacks(None, 2, "cpu"):
        pass


def test_without_a_cluster_nobody_works_beforehand(run: Path, tmp_path: Path) -> None:
    with sharing(None, None, asked(run, tmp_path / "shared")) as share_out:
        share_out(str(tmp_path / "shared"), THREAT, 200, told)
    assert not (tmp_path / "shared" / "evaluations").exists()
