"""The released PGD against itself written out an image at a time, and the faults that make it what it is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import BATCH, README, SCRIPT, PGDAsReleased, pgd_as_released
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


def reference(
    model: nn.Module, images: Tensor, labels: Tensor, norm: Norm, epsilon: float, step: float, steps: int,
    batch: int, seed: int,
) -> Tensor:  # fmt: skip
    """The released procedure: CleverHans' PGD on DataLoader batches, with the true labels and no clipping."""

    def clip(eta: Tensor) -> Tensor:
        if norm == "linf":
            return torch.clamp(eta, -epsilon, epsilon)
        size = math.sqrt(max(1e-12, float((eta**2).sum())))
        return eta * min(1.0, epsilon / size)

    attacked = []
    for number in range(math.ceil(len(images) / batch)):
        x = images[number * batch : (number + 1) * batch]
        y = labels[number * batch : (number + 1) * batch]
        start = Stream(seed, f"pgd-as-released/{number}").uniform(*x.shape)
        adv = torch.stack([one + clip(2 * epsilon * u - epsilon) for one, u in zip(x, start, strict=True)])
        for _ in range(steps):
            adv = adv.clone().detach().requires_grad_(True)
            nn.CrossEntropyLoss()(model(adv), y).backward()
            assert adv.grad is not None
            moved = []
            for one, now, gradient in zip(x, adv.detach(), adv.grad, strict=True):
                if norm == "linf":
                    towards = torch.sign(gradient)
                else:
                    towards = gradient / math.sqrt(max(1e-12, float((gradient**2).sum())))
                moved.append(one + clip(now + step * towards - one))
            adv = torch.stack(moved)
        attacked.append(adv.detach())
    return torch.cat(attacked)


def network(confidence: float) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Tanh(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(96, 4)
        )
        head = model[5]
        assert isinstance(head, nn.Linear)
        with torch.no_grad():
            for value in head.parameters():
                value.mul_(confidence)
    return model


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("confidence", [1, 100])
def test_equals_the_released_procedure_image_by_image(norm: Norm, confidence: float) -> None:
    # 40 images in batches of 16: the last is smaller. At confidence 100 the floor bites for many of them.
    model = network(confidence).eval()
    images = torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = model(images).argmax(dim=1)
    labels[::5] = (labels[::5] + 1) % 4  # misclassified images are attacked like the others
    epsilon, step = (0.1, 0.02) if norm == "linf" else (1.0, 0.1)
    result = pgd_as_released(
        model, images, labels, norm=norm, epsilon=epsilon, step=step, steps=12, batch=16, seed=3
    )
    expected = reference(model, images, labels, norm, epsilon, step, 12, 16, 3)
    difference = (result.images - expected).abs().flatten(1).amax(dim=1)
    assert (difference <= 1e-5).all(), difference
    assert torch.equal(result.correct, model(expected).argmax(dim=1) == labels)
    assert torch.equal(result.outside, ((expected < -1e-6) | (expected > 1 + 1e-6)).flatten(1).any(dim=1))
    assert result.outside.any()
    assert result.threat == f"unclipped {norm}:{epsilon:g}"
    assert result.step_ratios.shape == (12, 40)
    assert (result.step_ratios <= 1 + 1e-5).all()
    if norm == "l2":
        assert ((result.step_ratios < 0.99).any()) == (confidence == 100)


class TwoClasses(nn.Module):
    """Linear, ``logits[0] - logits[1] = margin`` at grey images, falling by ``slope`` a unit of L2."""

    def __init__(self, margin: float, slope: float) -> None:
        super().__init__()
        w = torch.randn(192, generator=torch.Generator().manual_seed(0))
        self.w, self.margin = slope * w / w.norm(), margin

    def forward(self, images: Tensor) -> Tensor:
        lead = self.margin - (images - 0.5).flatten(1) @ self.w
        return torch.stack([lead / 2, -lead / 2], dim=1)


GREY, LABELS = torch.full((BATCH, 3, 8, 8), 0.5), torch.zeros(BATCH, dtype=torch.int64)


@pytest.mark.parametrize(
    ("margin", "slope", "ratio"),
    [(8, 10, 1), (12, 10, 0.480), (16, 10, 0.0088), (12, 11.7, 0.56), (16, 11.7, 0.0103)],
)
def test_steps_shrink_with_the_margin(margin: float, slope: float, ratio: float) -> None:
    # In closed form min(1, e^-margin * slope / (128 * 1e-6)), for a batch of 128.
    assert ratio == pytest.approx(min(1, math.exp(-margin) * slope / 128e-6), rel=0.01)
    # So small a ball that the random start leaves the margin as it is.
    result = pgd_as_released(
        TwoClasses(margin, slope), GREY, LABELS, norm="l2", epsilon=1e-5, step=1e-5, steps=1
    )
    assert torch.allclose(result.step_ratios, torch.tensor(float(ratio)), rtol=0.05)
    # And what the gradient's mean norm says: sigmoid(-margin) * slope / 128.
    norm = slope / (1 + math.exp(margin)) / BATCH
    assert torch.allclose(result.gradient_norms, torch.tensor(norm), rtol=0.05)


def test_a_sound_attack_breaks_what_the_released_one_leaves() -> None:
    model = TwoClasses(margin=18, slope=10)  # broken by 1.8 in the right direction
    released = pgd_as_released(model, GREY, LABELS, **SCRIPT)
    assert released.correct.float().mean() > 0.9
    assert released.step_ratios[0].median() < 0.01
    sound = run_attack(PGD(), model, GREY, LABELS, ThreatModel("l2", SCRIPT["epsilon"]), seed=0)
    assert not sound.robust.any()
    confident = pgd_as_released(TwoClasses(margin=9, slope=10), GREY, LABELS, **README)
    assert not confident.correct.any()
    assert (confident.step_ratios > 0.999).all()


def test_sign_steps_shrink_only_to_nothing() -> None:
    sizes = {}
    for margin in (16, 110):
        result = pgd_as_released(
            TwoClasses(margin, 10), GREY, LABELS, norm="linf", epsilon=1e-4, step=1e-4, steps=1
        )
        sizes[margin] = sorted(set(result.step_ratios.flatten().tolist()))
    assert sizes == {16: [1.0], 110: [0.0]}


def test_model_and_random_state_are_as_before_and_seeds_count() -> None:
    model = network(1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(8, dtype=torch.int64)
    original = images.clone()
    state = torch.get_rng_state()
    first, again, other = (
        pgd_as_released(model, images, labels, steps=2, seed=seed).images for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, original)
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.05, "step": 0.1}, "0 < step <= epsilon is asserted"),
        ({"step": 0}, "0 < step <= epsilon"),
        ({"steps": 0}, "both are at least 1"),
        ({"norm": "l1"}, "unknown norm 'l1'; known: l2, linf"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        pgd_as_released(network(1), GREY[:, :, :6, :6], LABELS, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_parts_that_start_at_batch_borders_equal_the_whole() -> None:
    model = network(1)
    images = torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.zeros(40, dtype=torch.int64)
    whole = pgd_as_released(model, images, labels, steps=3, batch=16, seed=2)
    parts = [
        pgd_as_released(
            model, images[rows], labels[rows], steps=3, batch=16, seed=2, first_batch=rows.start // 16
        )
        for rows in (slice(0, 16), slice(16, 40))
    ]
    assert torch.equal(torch.cat([part.images for part in parts]), whole.images)
    assert sum(part.forwards for part in parts) == whole.forwards == 4 * 40
    assert sum(part.gradients for part in parts) == whole.gradients == 3 * 40


@pytest.mark.parametrize(
    ("text", "name", "step", "steps"),
    [
        ("pgd-as-released", "pgd-as-released", 0.1, 100),
        ("pgd-as-released(preset=readme)", "pgd-as-released", 0.1, 100),
        ("pgd-as-released(preset=script)", "pgd-as-released(step=0.01,steps=250)", 0.01, 250),
        ("pgd-as-released(steps=250,step=0.01)", "pgd-as-released(step=0.01,steps=250)", 0.01, 250),
        ("pgd-as-released(preset=script,steps=9)", "pgd-as-released(step=0.01,steps=9)", 0.01, 9),
    ],
)
def test_chosen_by_name(text: str, name: str, step: float, steps: int) -> None:
    attack = parse_attack(text)
    assert isinstance(attack, PGDAsReleased)
    assert (attack.name, attack.step, attack.steps) == (name, step, steps)
    assert parse_attack(attack.name) == attack
    assert PGDAsReleased(preset="script") == parse_attack("pgd-as-released(preset=script)")


def test_the_sealed_runner_refuses_it() -> None:
    with pytest.raises(ReinforcedError, match="runs in evaluations only, unsealed"):
        run_attack(PGDAsReleased(), TwoClasses(9, 10), GREY, LABELS, ThreatModel("l2", 1.0), seed=0)


def test_threats_have_exact_names() -> None:
    result = PGDAsReleased(step=0.01, steps=1).run(
        TwoClasses(9, 10), GREY[:2], LABELS[:2], ThreatModel("linf", 8 / 255), seed=0
    )
    assert result.threat == "unclipped linf:8/255"
