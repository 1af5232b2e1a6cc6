"""The attacks through foolbox: the optimum on linear classifiers, and foolbox's faults, wrapped."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch, run_attack
from reinforced.attacks.boundary import Boundary
from reinforced.attacks.ddn import DDN
from reinforced.attacks.fmn import FMN
from reinforced.attacks.hopskipjump import HopSkipJump
from reinforced.attacks.minimum_norm import foolbox, minimise
from reinforced.attacks.rays import RayS
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

LINF, L2 = ThreatModel("linf", 0.1), ThreatModel("l2", 0.5)
QUICK: dict[str, AttackSettings] = {
    "hopskipjump": HopSkipJump(steps=4, initial_evaluations=20, start_draws=20),
    "boundary": Boundary(steps=60, start_draws=20),
    "fmn": FMN(steps=30),
    "ddn": DDN(steps=30),
    "rays": RayS(queries=60),
}
CASES = [
    pytest.param(attack, {"linf": LINF, "l2": L2}[norm], id=f"{name}-{norm}")
    for name, attack in QUICK.items()
    for norm in attack.norms
]
every_attack = pytest.mark.parametrize(("attack", "threat"), CASES)
every_foolbox_attack = pytest.mark.parametrize(("attack", "threat"), CASES[:-1])
started = pytest.mark.parametrize(("attack", "threat"), CASES[:3])


class Linear(nn.Module):
    """Two classes, ``logits[1] - logits[0] = scale * (w . (x - 0.5) + margin)``; ``w`` is a weight."""

    def __init__(self, margin: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(48, generator=torch.Generator().manual_seed(1)))
        self.margin, self.scale = margin, scale

    def forward(self, images: Tensor) -> Tensor:
        score: Tensor = self.scale * ((images - 0.5).flatten(1) @ self.w + self.margin)
        return torch.stack([-score / 2, score / 2], dim=1)

    def distance(self, images: Tensor, norm: Norm) -> Tensor:
        """(N,): from each image to the hyperplane."""
        w = self.w.detach()
        score: Tensor = ((images - 0.5).flatten(1) @ w + self.margin).abs()
        size: Tensor = torch.linalg.vector_norm(w, ord=1 if norm == "linf" else 2)
        return score / size


class Changing(Linear):
    """Another prediction at every second call."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        self.calls += 1
        return super().forward(images) * (1 if self.calls % 2 else -1)


def centred(n: int = 8) -> Tensor:
    return 0.5 + 0.1 * (torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(2)) - 0.5)


def labelled(model: nn.Module, images: Tensor) -> Batch:
    with torch.no_grad():
        return Batch(images, model(images).argmax(dim=1))


def propose(attack: AttackSettings, model: nn.Module, batch: Batch, threat: ThreatModel) -> AttackOutput:
    return attack.candidates(model.eval(), batch, threat, Stream(0, "test"))


def distances(output: AttackOutput) -> Tensor:
    assert output.unprojected is not None
    return output.unprojected


@pytest.mark.parametrize(
    ("attack", "norm", "factor"),
    [
        (FMN(), "linf", 1.25),
        (FMN(), "l2", 1.25),
        (DDN(), "l2", 1.25),
        (HopSkipJump(steps=12), "l2", 1.25),
        (HopSkipJump(steps=12), "linf", 2),
        (Boundary(steps=1500, source_step=0.05, spherical_step=0.05), "l2", 2),
    ],
    ids=str,
)
def test_distance_on_a_linear_model(attack: AttackSettings, norm: Norm, factor: float) -> None:
    model = Linear(margin=2)
    batch = labelled(model, centred())
    threat = ThreatModel(norm, 0.1)
    output = propose(attack, model, batch, threat)
    best = model.distance(batch.images, norm)
    assert (model(output.images).argmax(dim=1) != batch.labels).all()
    assert torch.equal(distances(output), threat.distance(output.images, batch.images))
    assert (distances(output) >= best * (1 - 1e-4)).all()
    assert (distances(output) <= best * factor).all()


@every_attack
def test_an_image_inside_the_ball_is_returned_as_found(attack: AttackSettings, threat: ThreatModel) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred())
    wide = ThreatModel(threat.norm, {"linf": 1.0, "l2": 50.0}[threat.norm])
    result = run_attack(attack, model, batch.images, batch.labels, wide, seed=0)
    assert not result.robust.any()
    assert torch.equal(result.unprojected, result.distances)
    radius = result.unprojected.median().item() * 1.00001
    narrower = ThreatModel(threat.norm, radius)
    narrow = run_attack(attack, model, batch.images, batch.labels, narrower, seed=0)
    inside = result.unprojected <= radius
    assert inside.sum() >= 4
    assert not narrow.robust[inside].any()
    assert torch.equal(narrow.images[inside], result.images[inside])


@every_attack
def test_one_image_alone(attack: AttackSettings, threat: ThreatModel) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(1))
    output = propose(attack, model, batch, threat)
    assert output.images.shape == (1, 3, 4, 4)
    assert distances(output).isfinite().all()


@every_attack
def test_the_stream_alone_decides(attack: AttackSettings, threat: ThreatModel) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(3))

    def drawn(seed: int) -> Tensor:
        torch.rand(seed + 1), np.random.rand(seed + 1)
        return attack.candidates(model, batch, threat, Stream(seed, "test")).images

    first, again, other = drawn(0), drawn(0), drawn(1)
    assert torch.equal(first, again)
    if attack.access == "labels" and not isinstance(attack, RayS):
        assert not torch.equal(first, other)
    else:
        assert torch.equal(first, other)


@every_foolbox_attack
def test_global_streams_are_left_alone(attack: AttackSettings, threat: ThreatModel) -> None:
    model = Linear(margin=0.2)
    ours, numpys = torch.get_rng_state(), np.random.get_state()
    propose(attack, model, labelled(model, centred(2)), threat)
    assert torch.equal(torch.get_rng_state(), ours)
    assert all(np.array_equal(*pair) for pair in zip(np.random.get_state(), numpys, strict=True))


def test_numpys_global_stream_is_seeded_while_foolbox_runs() -> None:
    class Drawing:
        def run(self, model: object, images: Tensor, labels: Tensor) -> Tensor:
            return images + torch.from_numpy(np.random.rand(1)) + torch.rand(1)

    def drawn(seed: int) -> Tensor:
        batch = Batch(centred(1), torch.ones(1, dtype=torch.int64))
        return minimise(Drawing(), "drawing", Linear(), batch, Stream(seed, "test"))

    assert torch.equal(drawn(0), drawn(0))
    assert not torch.equal(drawn(0), drawn(1))


@started
def test_images_without_a_start_come_back_clean(attack: AttackSettings, threat: ThreatModel) -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    batch = labelled(Constant(), centred(4))
    output = propose(attack, Constant(), batch, threat)
    assert torch.equal(output.images, batch.images)
    assert distances(output).isinf().all()


@started
def test_foolbox_alone_loses_the_batch(attack: AttackSettings, threat: ThreatModel) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(2))
    starts = torch.stack([1 - model.w.detach().sign().view(3, 4, 4).clamp_min(0), batch.images[1]])
    lent = foolbox("foolbox").PyTorchModel(model.eval(), (0, 1), device="cpu")
    kind = foolbox().HopSkipJumpAttack if attack.name.startswith("hop") else foolbox().BoundaryAttack
    with pytest.raises(ValueError, match="of 2 starting_points are not adversarial"):
        kind(steps=1).run(lent, batch.images, batch.labels, starting_points=starts)


@every_foolbox_attack
@pytest.mark.parametrize("shift", [-0.6, 0.6])
def test_images_outside_the_box_are_named(attack: AttackSettings, threat: ThreatModel, shift: float) -> None:
    batch = Batch(centred(2) + shift, torch.ones(2, dtype=torch.int64))
    with pytest.raises(ReinforcedError, match=r"not in \[0,1\]"):
        propose(attack, Linear(margin=60), batch, threat)


@started
def test_a_changing_model_is_named(attack: AttackSettings, threat: ThreatModel) -> None:
    batch = Batch(centred(4), torch.ones(4, dtype=torch.int64))
    with pytest.raises(ReinforcedError, match="must not change from call to call"):
        propose(attack, Changing(margin=0.2), batch, threat)


@pytest.mark.parametrize("attack", [FMN(steps=3), DDN(steps=3)], ids=str)
def test_gradients_of_weights_are_left_alone(attack: AttackSettings) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(2))
    kind = foolbox().L2FMNAttack if attack.name.startswith("fmn") else foolbox().DDNAttack
    lent = foolbox("foolbox").PyTorchModel(model.eval(), (0, 1), device="cpu")
    kind(steps=3).run(lent, batch.images, batch.labels)
    assert model.w.grad is not None  # foolbox alone fills it
    for grad in (None, torch.ones(48)):
        model.w.grad = grad
        run_attack(attack, model, batch.images, batch.labels, L2, seed=0)
        assert model.w.grad is grad
        assert grad is None or torch.equal(grad, torch.ones(48))
    assert model.w.requires_grad


@pytest.mark.parametrize("attack", [FMN(), DDN()], ids=str)
def test_a_model_without_gradients_is_named(attack: AttackSettings) -> None:
    class Steps(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).round().detach()

    model = Steps(margin=9)
    with pytest.raises(ReinforcedError, match="no gradient"):
        propose(attack, model, labelled(model, centred()), L2)


@pytest.mark.parametrize("attack", [FMN(), DDN()], ids=str)
def test_a_zero_gradient_finds_nothing(attack: AttackSettings) -> None:
    model = Linear(margin=0, scale=0)
    batch = Batch(centred(2), torch.zeros(2, dtype=torch.int64))
    output = propose(attack, model, batch, L2)
    assert torch.equal(output.images, batch.images)
    assert distances(output).isinf().all()


@pytest.mark.parametrize("scale", [1.0, 20.0, 40.0])
def test_confident_models_are_no_hiding_place(scale: float) -> None:
    # Margins 3, 60 and 120: cross-entropy's gradient is exact, its square underflows, it is zero in float32.
    model = Linear(margin=3, scale=scale)
    batch = labelled(model, centred())
    for attack in (DDN(), FMN()):
        output = propose(attack, model, batch, L2)
        assert (distances(output) <= 1.25 * model.distance(batch.images, "l2")).all()


def test_fmn_in_l2_projects() -> None:
    # foolbox's own projection divides a norm by itself and leaves everything where it is.
    attack = foolbox().L2FMNAttack()
    ep = foolbox("eagerpy")
    x0, x = ep.astensor(torch.zeros(1, 3, 4, 4)), ep.astensor(torch.ones(1, 3, 4, 4))
    radius = ep.astensor(torch.tensor([0.5]))
    assert (attack.project(x, x0, radius).raw == 1).all()
    model = Linear(margin=0.2)
    batch = labelled(model, centred())
    ours = distances(propose(FMN(steps=30), model, batch, L2))
    theirs = minimise(foolbox().L2FMNAttack(steps=30), "fmn", model, batch, Stream(0, "test"))
    assert (ours < L2.distance(theirs, batch.images) / 1.5).any()


@pytest.mark.parametrize("threat", [LINF, L2], ids=["linf", "l2"])
def test_fmn_does_not_stay_where_two_logits_are_equal(threat: ThreatModel) -> None:
    class First(nn.Module):
        """Exact arithmetic: a tie, which goes to class 0, lies at 0.75 in one pixel."""

        def forward(self, images: Tensor) -> Tensor:
            score = images[:, 0, 0, 0] - 0.75
            return torch.stack([-score, score], dim=1)

    batch = labelled(First(), torch.full((1, 1, 1, 1), 0.5))
    kind = foolbox().L2FMNAttack if threat.norm == "l2" else foolbox().LInfFMNAttack
    if threat.norm == "linf":  # foolbox alone; in L2 its projection does nothing, so that it overshoots
        theirs = minimise(kind(), "fmn", First(), batch, Stream(0, "test"))
        assert torch.equal(theirs, batch.images)
    found = distances(propose(FMN(), First(), batch, threat))
    assert 0.25 < found.item() < 0.251


def test_hopskipjumps_steps_do_not_shrink_with_the_batch() -> None:
    # foolbox divides each image's estimate by the norm over all images: a factor of sqrt(N) too short.
    ep = foolbox("eagerpy")
    images = ep.astensor(centred(16))
    ours = _estimate(HopSkipJump(), images)
    assert torch.allclose(ours.flatten(1).norm(dim=1), torch.ones(16), atol=1e-5)
    alone = foolbox().HopSkipJumpAttack()
    theirs = alone.approximate_gradients(_coin, images, 10, ep.astensor(torch.full((16,), 0.1))).raw
    assert theirs.flatten(1).norm(dim=1).max() < 0.5


def _coin(images: object) -> object:
    raw: Tensor = images.raw  # type: ignore[attr-defined]
    return foolbox("eagerpy").astensor(raw.flatten(1).sum(dim=1) > 24)


def _estimate(attack: HopSkipJump, images: object) -> Tensor:
    from reinforced.attacks.hopskipjump import _unit_each

    estimate: Callable[..., object] = _unit_each(foolbox().HopSkipJumpAttack().approximate_gradients)
    delta = foolbox("eagerpy").astensor(torch.full((16,), 0.1))
    raw: Tensor = estimate(_coin, images, 10, delta).raw  # type: ignore[attr-defined]
    return raw


def test_hopskipjump_takes_few_large_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(5))
    attack = HopSkipJump(steps=4, initial_evaluations=20)
    monkeypatch.setattr("reinforced.attacks.hopskipjump._LARGEST", 2 * 40 * 48)  # two images' noise
    output = propose(attack, model, batch, L2)
    assert distances(output).isfinite().all()


@pytest.mark.parametrize(("attack", "threat"), [*CASES[:3], CASES[-1]])
def test_hard_label_attacks_see_classes_alone(attack: AttackSettings, threat: ThreatModel) -> None:
    class Hard(Linear):
        """The same classes, and any logits at all."""

        def forward(self, images: Tensor) -> Tensor:
            label = super().forward(images).argmax(dim=1)
            return nn.functional.one_hot(label, 2).float() * 7 - 3

    batch = labelled(Linear(margin=0.2), centred(3))
    soft = propose(attack, Linear(margin=0.2), batch, threat)
    hard = propose(attack, Hard(margin=0.2), batch, threat)
    assert torch.equal(soft.images, hard.images)


@pytest.mark.parametrize(
    ("attack", "threat", "forwards", "gradients"),
    [(FMN(steps=7), LINF, 9, 7), (DDN(steps=7), L2, 9, 7), (RayS(queries=50), LINF, 50, 0)],
    ids=["fmn", "ddn", "rays"],
)
def test_passes(attack: AttackSettings, threat: ThreatModel, forwards: int, gradients: int) -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(3))
    result = run_attack(attack, model, batch.images, batch.labels, threat, seed=0)
    assert (result.forwards, result.gradients) == (3 * forwards, 3 * gradients)


def test_boundarys_queries() -> None:
    model = Linear(margin=0.2)
    batch = labelled(model, centred(3))
    result = run_attack(QUICK["boundary"], model, batch.images, batch.labels, L2, seed=0)
    # 60 steps, 6 looks at the statistics, foolbox's check, two at the end; the rest is the start.
    assert 3 * (60 + 6 + 1 + 2) < result.forwards <= 3 * (60 + 6 + 1 + 2 + 20 + 49)
    assert result.gradients == 0


@pytest.mark.parametrize("attack", [Boundary(), DDN(), RayS()], ids=lambda attack: attack.name)
def test_an_unsupported_norm_is_named(attack: AttackSettings) -> None:
    (known,) = attack.norms
    other = LINF if known == "l2" else L2
    with pytest.raises(ReinforcedError, match=f"does not work in {other.norm}; it knows {known}"):
        run_attack(attack, Linear(), centred(1), torch.ones(1, dtype=torch.int64), other, seed=0)


def test_importing_foolbox_does_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        foolbox()
