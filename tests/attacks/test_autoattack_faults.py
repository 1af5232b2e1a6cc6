"""Known faults of pyautoattack that must not come through, one test each."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import numpy as np
import pyautoattack  # type: ignore[import-untyped]
import pytest
import torch
from pyautoattack import checks
from pyautoattack.autopgd_base import APGDAttack  # type: ignore[import-untyped]
from pyautoattack.square import SquareAttack  # type: ignore[import-untyped]
from torch import Tensor, nn

from reinforced.attacks.apgd import APGD
from reinforced.attacks.autoattack import AutoAttack
from reinforced.attacks.base import AttackResult, Batch, run_attack
from reinforced.attacks.fab import FAB
from reinforced.attacks.pyaa import Ear, Handed, Lent, PyAutoAttack, propose
from reinforced.attacks.square import Square, square_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

WIDE = {"linf": ThreatModel("linf", 0.5), "l2": ThreatModel("l2", 4.0)}
"""Budgets at which the cascade ends early."""
SHORT = [
    APGD(steps=4), APGD(steps=4, loss="dlr"), APGD(steps=4, targeted=True),
    FAB(steps=4, restarts=2), FAB(steps=4, targeted=True), Square(queries=20),
]  # fmt: skip
every_attack = pytest.mark.parametrize("attack", [*SHORT, AutoAttack()], ids=lambda attack: attack.name)
every_norm = pytest.mark.parametrize("norm", ["linf", "l2"])


@pytest.fixture
def model() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip


@pytest.fixture
def images() -> Tensor:
    return torch.rand(12, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def predicted(model: nn.Module, images: Tensor) -> Tensor:
    was = model.training
    labels: Tensor = model.eval()(images).argmax(dim=1)
    model.train(was)
    return labels


def attacked(attack: PyAutoAttack, model: nn.Module, images: Tensor, threat: ThreatModel) -> AttackResult:
    return run_attack(attack, model, images, predicted(model, images), threat, seed=0)


def kinds(attack: PyAutoAttack, model: nn.Module, images: Tensor, threat: ThreatModel) -> set[str]:
    batch = Batch(images, predicted(model, images))
    model.eval().requires_grad_(False)
    output = propose(attack, model, batch, threat, Stream(0, "test"))
    flags = output.flags
    assert output.images.isfinite().all()
    return {flag.kind for flag in flags}


def test_normalised_images_are_refused_not_clamped(model: nn.Module, images: Tensor) -> None:
    with pytest.raises(ReinforcedError, match="put the normalisation inside the model"):
        attacked(AutoAttack(), model, (images - 0.5) / 0.25, WIDE["linf"])


def test_never_resumes_and_gets_device_and_seed(
    model: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    class Spy(pyautoattack.AutoAttack):  # type: ignore[misc]
        def __init__(self, model: Any, **options: Any) -> None:
            seen.append(options)
            super().__init__(model, **options)

        def run_standard_evaluation(self, *args: Any, **options: Any) -> Any:
            seen.append(options)
            return super().run_standard_evaluation(*args, **options)

    monkeypatch.setattr(pyautoattack, "AutoAttack", Spy)
    attacked(AutoAttack(), model, images, WIDE["linf"])
    assert "state_path" not in seen[1]
    assert seen[0]["device"] == images.device
    assert seen[0]["seed"] == Stream(0, "autoattack/0").generator.initial_seed()


class Dynamic(nn.Module):
    """Takes a gradient as it predicts."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        with torch.enable_grad():
            probe = images.detach().requires_grad_()
            torch.autograd.grad(self.inner(probe).sum(), probe)
        logits: Tensor = self.inner(images)
        return logits


def test_the_dynamic_flag_does_not_stick_to_later_models(model: nn.Module, images: Tensor) -> None:
    before = dict(checks.funcs)
    assert kinds(AutoAttack(), model, images, WIDE["linf"]) == set()
    assert kinds(AutoAttack(), Dynamic(model), images, WIDE["linf"]) == {"dynamic"}
    assert checks.funcs == before
    checks.funcs["grad"] = 5  # as after a direct use of pyautoattack
    try:
        assert kinds(AutoAttack(), model, images, WIDE["linf"]) == set()
        assert checks.funcs["grad"] == 5
    finally:
        checks.funcs.update(before)


@pytest.fixture
def tracer() -> Iterator[Any]:
    old = sys.gettrace()

    def trace(frame: FrameType, event: str, arg: object) -> None: ...

    sys.settrace(trace)
    yield trace
    sys.settrace(old)


def test_the_tracer_stays(tracer: object, model: nn.Module, images: Tensor) -> None:
    attacked(AutoAttack(), model, images, WIDE["linf"])
    assert sys.gettrace() is tracer


def test_the_tracer_comes_back_after_a_crash_under_pyautoattacks_own(
    tracer: object, model: nn.Module, images: Tensor
) -> None:
    class Crash(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if sys.gettrace() is checks.tracefunc:
                raise ValueError("stop")
            logits: Tensor = model(images)
            return logits

    with pytest.raises(ValueError, match="stop"):  # not the user's input: it is passed on as it is
        attacked(AutoAttack(), Crash(), images, WIDE["linf"])
    assert sys.gettrace() is tracer


@every_attack
@every_norm
def test_draws_and_global_generators_leave_each_other_alone(
    attack: PyAutoAttack, norm: str, model: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batch(images, predicted(model, images))
    model.eval().requires_grad_(False)
    found = []
    for now in (1.0, 2.0):  # seeds must come neither from the clock nor from the global generators
        torch.rand(3)
        before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
        monkeypatch.setattr("time.time", lambda now=now: now)
        found.append(attack.candidates(model, batch, WIDE[norm], Stream(0, "test")).images)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]
    assert torch.equal(found[0], found[1])


def test_a_model_in_train_mode_keeps_its_statistics(model: nn.Module, images: Tensor) -> None:
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    attacked(AutoAttack(), model, images, WIDE["linf"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(module.training for module in model.modules())


@every_attack
def test_nothing_is_logged_or_printed(
    attack: PyAutoAttack,
    model: nn.Module,
    images: Tensor,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    softmax = nn.Sequential(model, nn.Softmax(dim=1))  # for AutoAttack to warn of something
    attacked(attack, softmax, images, WIDE["linf"])
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


@every_attack
@every_norm
def test_results_lie_in_ball_and_box_without_slack(
    attack: PyAutoAttack, norm: str, model: nn.Module, images: Tensor
) -> None:
    threat = ThreatModel(norm, WIDE[norm].epsilon)  # type: ignore[arg-type]
    found = attacked(attack, model, images, threat).images
    assert found.min() >= 0
    assert found.max() <= 1
    if norm == "linf":
        assert torch.equal(found, found.clamp(images - threat.epsilon, images + threat.epsilon))
    assert not threat.excess(found, images).any()


@every_attack
@every_norm
def test_channels_last_models_and_images(
    attack: PyAutoAttack, norm: str, model: nn.Module, images: Tensor
) -> None:
    plain = attacked(attack, model, images, WIDE[norm])
    strided = images.contiguous(memory_format=torch.channels_last)
    if isinstance(attack, APGD) and attack.loss == "dlr":
        direct = APGDAttack(model.eval(), n_iter=2, norm="Linf", eps=0.1, loss="dlr")
        with torch.random.fork_rng(), pytest.raises(RuntimeError, match="view"):
            direct.perturb(strided, predicted(model, images))
    last = model.to(memory_format=torch.channels_last)
    found = attacked(attack, last, strided, WIDE[norm])
    assert torch.equal(found.robust, plain.robust)


@every_attack
@every_norm
@pytest.mark.parametrize("n", [1, 2])
def test_chunks_of_one_or_two_images(
    attack: PyAutoAttack, norm: str, n: int, model: nn.Module, images: Tensor
) -> None:
    assert attacked(attack, model, images[:n], WIDE[norm]).images.shape == images[:n].shape


class Pixels(nn.Module):
    """Its logits are a view of its images."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :10]


@every_norm
def test_square_does_not_write_into_the_models_memory(norm: str, images: Tensor) -> None:
    images = images[:, :1].contiguous()
    labels = predicted(Pixels(), images)
    with torch.random.fork_rng():
        direct = SquareAttack(Pixels(), norm="Linf", eps=0.05, n_queries=5)
        assert direct.perturb(images.clone(), labels).isinf().any()
    assert kinds(Square(queries=5), Pixels(), images, ThreatModel(norm, 0.05)) == set()  # type: ignore[arg-type]


class Tied(nn.Module):
    """All classes are equal, and an empty batch is more than it can take."""

    def forward(self, images: Tensor) -> Tensor:
        assert len(images) > 0
        return torch.zeros(len(images), 4) * images.view(len(images), -1).sum()


@every_norm
def test_square_survives_ties(norm: str, images: Tensor) -> None:
    if norm == "l2":
        with torch.random.fork_rng(), pytest.raises(RuntimeError, match="cannot reshape"):
            SquareAttack(lambda x: torch.zeros(len(x), 4), norm="L2", eps=0.1).perturb(
                images, torch.zeros(12, dtype=torch.int64)
            )
    assert attacked(Square(queries=5), Tied(), images, WIDE[norm]).robust.all()


@pytest.mark.parametrize("loss", ["margin", "ce"])
def test_square_goes_on_at_ties_that_are_classified_rightly(loss: str) -> None:
    """Coarse logits tie often: where argmax names the label the image stands, and has not been broken."""
    seen = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, -1.0], [2.0, 0.5, 1.0], [0.5, 2.0, 1.0]])
    images, labels = torch.rand(4, 1, 8, 8), torch.tensor([0, 1, 0, 0])

    class Answering(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return seen[: len(x)].clone()

    lent = Lent(Handed(Answering()), images, labels, WIDE["linf"], 0, Ear(4))
    attack = square_attack(lent, loss=loss)
    margin, found = attack.margin_and_loss(images, labels)
    plain = SquareAttack(Answering(), loss=loss, device="cpu")
    theirs, expected = plain.margin_and_loss(images, labels)
    assert theirs.tolist() == [0, 0, 1, -1.5]
    assert 0 < margin[0] < 1e-30
    assert torch.equal(margin[1:], theirs[1:])
    assert torch.allclose(found, expected)


def test_square_refuses_images_too_low_for_l2(images: Tensor) -> None:
    low = images[:, :, :4]
    with pytest.raises(ReinforcedError, match="do not fit images of 4 x"):
        attacked(Square(), Pixels(), low, WIDE["l2"])
    assert attacked(Square(queries=5), Pixels(), low, WIDE["linf"]).images.shape == low.shape


class Root(nn.Module):
    """Its gradient is not a number where a pixel is 0."""

    def forward(self, images: Tensor) -> Tensor:
        images = images.flatten(1)
        return torch.where(images > 0, images.sqrt(), 0.0)[:, :10] - images[:, 10:20]


@every_norm
@pytest.mark.parametrize("attack", [APGD(steps=10), FAB(steps=10)], ids=lambda attack: attack.name)
def test_gradients_that_are_not_finite_do_not_reach_the_images(
    attack: PyAutoAttack, norm: str, images: Tensor
) -> None:
    images = images.clone()
    images[:, 0, 0, ::2] = 0
    found = kinds(attack, Root(), images, ThreatModel(norm, 0.02))  # type: ignore[arg-type]
    assert found == {"not_finite"}


class Rounded(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1)[:, :10] * 20).detach().round()


@pytest.mark.parametrize("attack", [*SHORT[:5], AutoAttack()], ids=lambda attack: attack.name)
def test_a_model_without_gradients_is_named(attack: PyAutoAttack, images: Tensor) -> None:
    with pytest.raises(ReinforcedError, match="carry no gradient to the images; use square") as caught:
        attacked(attack, Rounded(), images, WIDE["linf"])
    assert "\n" not in str(caught.value)
    assert not attacked(Square(queries=50), Rounded(), images, WIDE["linf"]).robust.all()


def test_logits_in_other_precisions(model: nn.Module, images: Tensor) -> None:
    class Double(nn.Sequential):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self[0](images)
            return logits.double()

    found = attacked(FAB(steps=4), Double(model), images, WIDE["linf"])
    assert torch.equal(found.images, attacked(FAB(steps=4), model, images, WIDE["linf"]).images)


@pytest.mark.parametrize("side", [4, 5, 8, 10, 12, 13, 14, 18, 19, 24, 28, 32])
def test_square_in_l2_says_where_its_first_squares_do_not_fit(side: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(side * side, 3))
    images = torch.rand(2, 1, side, side, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    threat = ThreatModel("l2", 0.1)
    if side in (4, 12, 14, 18, 19, 24):
        with pytest.raises(ReinforcedError, match=f"do not fit images of {side} x {side}"):
            run_attack(Square(queries=3), model, images, labels, threat, seed=0)
    else:
        run_attack(Square(queries=3), model, images, labels, threat, seed=0)
