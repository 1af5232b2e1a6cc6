"""PGD against the closed-form optimum on linear classifiers, and the traps it must not fall into."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.pgd import PGD, direction, random_start
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


class Linear(nn.Module):
    """Two classes, ``logits[1] - logits[0] = scale * (w . x + margin)`` for images around 0.5."""

    def __init__(self, margin: float, scale: float = 1.0) -> None:
        super().__init__()
        self.w = torch.randn(48, generator=torch.Generator().manual_seed(1))
        self.margin, self.scale = margin, scale

    def forward(self, images: Tensor) -> Tensor:
        score = self.scale * ((images - 0.5).flatten(1) @ self.w + self.margin)
        return torch.stack([-score / 2, score / 2], dim=1)


def centred(n: int = 8) -> Tensor:
    return 0.5 + 0.1 * (torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(2)) - 0.5)


def candidates(attack: PGD, model: nn.Module, images: Tensor, threat: ThreatModel) -> Tensor:
    batch = Batch(images, torch.ones(len(images), dtype=torch.int64))
    return attack.candidates(model, batch, threat, Stream(0, "test")).images


@pytest.mark.parametrize(("norm", "epsilon", "dual"), [("linf", 0.1, 1), ("l2", 0.3, 2)])
@pytest.mark.parametrize("random_start", [False, True])
def test_linear_margin_drops_by_the_optimum(
    norm: Norm, epsilon: float, dual: int, random_start: bool
) -> None:
    model, images = Linear(margin=9), centred()
    # From a random start on the L2 sphere, the default path of 2.5 epsilon ends 1.3 % short of the optimum.
    attack = PGD(random_start=random_start, step=epsilon / 4)
    found = candidates(attack, model, images, ThreatModel(norm, epsilon))
    drop = 2 * (model(images) - model(found))[:, 1]
    best = epsilon * model.w.norm(p=dual)
    assert (drop <= best * 1.001).all()
    assert (drop >= best / 1.01).all()


@pytest.mark.parametrize("norm", NORMS)
def test_verdict_on_a_linear_model_is_exact(norm: Norm) -> None:
    model, images = Linear(margin=0), centred(200)
    labels = model(images).argmax(dim=1)
    threat = ThreatModel(norm, 0.01 if norm == "linf" else 0.05)
    reach = threat.epsilon * model.w.norm(p=1 if norm == "linf" else 2)
    margin = 2 * model(images)[:, 1].abs()
    result = run_attack(PGD(), model, images, labels, threat, seed=0)
    assert result.robust[margin > 1.001 * reach].all()
    assert not result.robust[margin < 0.97 * reach].any()
    assert 0 < result.robust.float().mean() < 1


@pytest.mark.parametrize("norm", NORMS)
def test_confident_models_are_no_hiding_place(norm: Norm) -> None:
    # Margin 60: the squared gradient underflows in float32, where a floored normaliser stands still.
    threat = ThreatModel(norm, 0.3 if norm == "linf" else 2.0)
    found = candidates(PGD(random_start=False), Linear(margin=3, scale=20), centred(), threat)
    assert (Linear(margin=3, scale=20)(found).argmax(dim=1) == 0).all()


def test_many_images_do_not_shrink_the_gradient_of_each() -> None:
    # Margin 100: divided by the number of images, the gradient would be exactly 0 in float32.
    model, images = Linear(margin=3, scale=100 / 3), torch.full((256, 3, 4, 4), 0.5)
    found = candidates(PGD(random_start=False), model, images, ThreatModel("linf", 0.3))
    assert (model(found).argmax(dim=1) == 0).all()


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_where_the_loss_is_flat_zero_the_last_iterate_is_kept(norm: Norm, dual: int) -> None:
    model, images = Linear(margin=3, scale=20), torch.full((2, 3, 4, 4), 0.5)
    found = candidates(PGD(random_start=False), model, images, ThreatModel(norm, 0.01))
    drop = 2 * (model(images) - model(found))[:, 1]
    assert torch.allclose(drop, 20 * 0.01 * model.w.norm(p=dual), rtol=0.01)


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_is_a_zero_step(norm: Norm) -> None:
    assert torch.equal(direction(torch.zeros(2, 1, 2, 2), norm), torch.zeros(2, 1, 2, 2))
    images = centred()
    found = candidates(PGD(random_start=False), Linear(margin=0, scale=0), images, ThreatModel(norm, 0.1))
    assert torch.equal(found, images)


def test_unit_steps_whatever_the_scale() -> None:
    gradient = torch.randn(4, 3, 5, 5) * torch.tensor([1e-42, 1e-25, 1.0, 1e25]).view(4, 1, 1, 1)
    norms = direction(gradient, "l2").flatten(1).norm(dim=1)
    assert torch.allclose(norms, torch.ones(4), atol=1e-5)


def test_the_first_misclassified_iterate_is_kept() -> None:
    threat = ThreatModel("linf", 0.1)
    model = Linear(margin=0.5)
    images = torch.full((1, 3, 4, 4), 0.5)
    found = candidates(PGD(random_start=False), model, images, threat)
    moved = threat.distance(found, images)
    first = 0.5 / model.w.norm(p=1)
    assert first < moved <= first + 0.0125 + 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_does_not_depend_on_its_batch_mates(norm: Norm) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 2)).eval()
    one, mates, others = centred(1), torch.rand(5, 3, 4, 4), torch.rand(5, 3, 4, 4)
    attack, threat = PGD(random_start=False), ThreatModel(norm, 0.02)

    def beside(mates: Tensor) -> Tensor:
        images = torch.cat([one, mates])
        batch = Batch(images, model(images).argmax(dim=1))
        return attack.candidates(model, batch, threat, Stream(0, "test")).images[0]

    first, second = beside(mates), beside(others)
    assert torch.equal(first, second)
    assert not torch.equal(first, one[0])


def test_random_starts_fill_the_ball() -> None:
    images = torch.full((400, 1, 2, 2), 0.5)
    for norm, share in (("linf", 0.5**4), ("l2", 0.5**4)):
        threat = ThreatModel(norm, 0.2)  # type: ignore[arg-type]
        distance = threat.distance(random_start(images, threat, Stream(0, "start")), images)
        assert distance.max() > 0.95 * 0.2
        # The half-size ball has 1/16 of the volume in four dimensions.
        assert abs((distance < 0.1).float().mean().item() - share) < 0.04


def test_trace_has_a_row_an_iterate() -> None:
    images = centred(3)
    batch = Batch(images, torch.ones(3, dtype=torch.int64))
    output = PGD(steps=4, restarts=2).candidates(
        Linear(margin=9), batch, ThreatModel("linf", 0.1), Stream(0, "test")
    )
    assert output.trace is not None
    assert output.trace.shape == (10, 3)
    assert (output.trace[4] > output.trace[0]).all()


def test_restarts_never_do_worse() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Tanh(), nn.Flatten(), nn.Linear(64, 5))
    images = torch.rand(64, 3, 4, 4)
    labels = model(images).argmax(dim=1)
    threat = ThreatModel("linf", 0.03)
    once = run_attack(PGD(steps=3), model, images, labels, threat, seed=0).robust
    often = run_attack(PGD(steps=3, restarts=3), model, images, labels, threat, seed=0).robust
    assert not (often & ~once).any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("steps=0", "attack pgd: steps: .*greater than or equal to 1"),
        ("restarts=0", "attack pgd: restarts: .*greater than or equal to 1"),
        ("step=0", "attack pgd: step: .*greater than 0"),
        ("step=nan", "attack pgd: step: .*finite"),
        ("restarts=2,random_start=false", "set random_start=true"),
        ("restart=3", "did you mean 'restarts'"),
        ("steps", "write option=value"),
        ("loss=cw", "attack pgd: loss: .*'dlr'"),
        ("momentum=-1", "attack pgd: momentum: .*greater than or equal to 0"),
        ("eot=0", "attack pgd: eot: .*greater than or equal to 1"),
        ("target_classes=3", "only with targeted=true"),
    ],
)
def test_bad_settings_are_refused(options: str, message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        parse_attack(f"pgd({options})")
    assert "\n" not in str(caught.value)


def test_an_attack_is_read_as_it_is_written() -> None:
    attack = parse_attack(" pgd( steps=100 , step=none, restarts=3 )")
    assert attack == PGD(steps=100, restarts=3)
    assert attack.name == "pgd(steps=100,restarts=3)"
    assert parse_attack(attack.name) == attack
    with pytest.raises(ReinforcedError, match="did you mean 'pgd'"):
        parse_attack("pdg")


def test_a_model_without_gradients_is_named() -> None:
    class Steps(Linear):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images).round().detach()

    with pytest.raises(ReinforcedError, match="no gradient"):
        candidates(PGD(), Steps(margin=9), centred(), ThreatModel("linf", 0.1))
