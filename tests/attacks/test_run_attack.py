"""The sealed runner: believes nothing, leaves nothing behind."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, AttackResult, Batch, chunk_size, run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

THREAT = ThreatModel("linf", 0.1)
Propose = Callable[[nn.Module, Batch, Stream], Tensor]


@dataclass(frozen=True)
class Stub:
    """An attack made of one function."""

    propose: Propose
    name: str = "stub"
    norms: tuple[Norm, ...] = NORMS

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        return AttackOutput(self.propose(model, batch, stream))


class Brightness(nn.Module):
    """Class 1 where the mean pixel is above 0.5."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], dim=1)


def grey(*levels: float) -> Tensor:
    return torch.tensor(levels).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous()


def run(propose: Propose, levels: tuple[float, ...], labels: list[int]) -> AttackResult:
    return run_attack(Stub(propose), Brightness(), grey(*levels), torch.tensor(labels), THREAT, seed=0)


def test_misclassified_images_are_dropped_and_untouched() -> None:
    seen: list[int] = []

    def darken(model: nn.Module, batch: Batch, stream: Stream) -> Tensor:
        seen.append(len(batch.images))
        return batch.images - 0.09

    result = run(darken, (0.55, 0.9, 0.7), [1, 0, 1])
    assert seen == [2]
    assert result.clean_correct.tolist() == [True, False, True]
    assert result.robust.tolist() == [False, False, True]
    assert torch.equal(result.images[1], grey(0.9)[0])
    assert torch.allclose(result.distances, torch.tensor([0.09, 0.0, 0.09]))


def test_nothing_to_attack_is_no_error() -> None:
    result = run(lambda model, batch, stream: batch.images, (0.9,), [0])
    assert not result.robust.any()
    assert result.forwards == result.gradients == 0


def test_candidates_outside_the_ball_are_projected_before_scoring() -> None:
    result = run(lambda model, batch, stream: batch.images - 5, (0.55, 0.9), [1, 1])
    assert result.robust.tolist() == [False, True]
    assert torch.equal(THREAT.excess(result.images, grey(0.55, 0.9)), torch.zeros(2))


def test_a_false_claim_of_success_is_not_believed() -> None:
    class Boast(AttackOutput):
        robust = torch.zeros(1, dtype=torch.bool)

    @dataclass(frozen=True)
    class Boaster(Stub):
        def candidates(
            self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream
        ) -> AttackOutput:
            batch.labels.fill_(0)  # "the right answer was another one"
            batch.images.zero_()  # "the image was another one"
            return Boast(batch.images)

    boaster = Boaster(lambda model, batch, stream: batch.images)
    result = run_attack(boaster, Brightness(), grey(0.9), torch.tensor([1]), THREAT, seed=0)
    assert result.robust.tolist() == [True]
    assert torch.equal(THREAT.excess(result.images, grey(0.9)), torch.zeros(1))


@pytest.mark.parametrize(
    ("propose", "message"),
    [
        (lambda model, batch, stream: batch.images[:1], "return one candidate an image, (2, 1, 4, 4)"),
        (lambda model, batch, stream: batch.images / 0, "not finite"),
    ],
)
def test_malformed_candidates_are_refused(propose: Propose, message: str) -> None:
    with pytest.raises(ReinforcedError, match=r"attack 'stub'") as caught:
        run(propose, (0.9, 0.8), [1, 1])
    assert message in str(caught.value)


def test_logits_that_break_down_count_as_wrong() -> None:
    class Fragile(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where(logits[:, 1:] < 0.35, torch.tensor([0.0, torch.nan]), logits)

    attack = Stub(lambda model, batch, stream: batch.images - 0.1)
    result = run_attack(attack, Fragile(), grey(0.9), torch.tensor([1]), THREAT, seed=0)
    assert result.robust.tolist() == [False]


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (grey(1.5), [0], "put the normalisation inside the model"),
        (grey(float("nan")), [0], "not in [0,1]"),
        (grey(0.5).byte(), [0], "pass images.float() / 255"),
        (grey(0.5).double(), [0], "pass images.float()"),
        (grey(0.5)[0], [0], "pass (N, C, H, W)"),
        (grey(0.5)[:0], [], "N at least 1"),
        (grey(0.9), [2], "the model has 2 classes; labels lie in 0..1"),
        (grey(0.9), [-1], "classes are numbered from 0"),
        (grey(0.9), [1, 1], "of shape (1,)"),
        (grey(0.9), [1.0], "pass int64 class numbers"),
    ],
)
def test_bad_input_is_refused(images: Tensor, labels: list[float], message: str) -> None:
    attack = Stub(lambda model, batch, stream: batch.images)
    with pytest.raises(ReinforcedError) as caught:
        run_attack(attack, Brightness(), images, torch.tensor(labels), THREAT, seed=0)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_models_and_norms_are_refused() -> None:
    attack = Stub(lambda model, batch, stream: batch.images, norms=("l2",))
    with pytest.raises(ReinforcedError, match="does not work in linf; it knows l2"):
        run_attack(attack, Brightness(), grey(0.9), torch.tensor([1]), THREAT, seed=0)
    l2 = ThreatModel("l2", 1)
    with pytest.raises(ReinforcedError, match="return logits"):
        run_attack(attack, nn.Identity(), grey(0.9), torch.tensor([1]), l2, seed=0)
    nan = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.constant_(nan[1].weight, float("nan"))  # type: ignore[arg-type]
    with pytest.raises(ReinforcedError, match="not finite"):
        run_attack(attack, nan, grey(0.9), torch.tensor([1]), l2, seed=0)


def test_modes_left_on_by_the_attack_do_not_reach_the_score() -> None:
    class Moody(Brightness):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * (-1 if self.training else 1)

    def stir(model: nn.Module, batch: Batch, stream: Stream) -> Tensor:
        model.train()
        return batch.images

    result = run_attack(Stub(stir), Moody(), grey(0.9), torch.tensor([1]), THREAT, seed=0)
    assert result.robust.tolist() == [True]


def test_autocast_around_the_run_changes_nothing() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    images = torch.rand(6, 1, 4, 4)
    labels = model(images).argmax(dim=1)

    def attacked() -> Tensor:
        return run_attack(PGD(), model, images, labels, ThreatModel("l2", 0.1), seed=0).images

    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = attacked()
    assert torch.equal(inside, attacked())


@pytest.mark.parametrize("fails", [False, True])
def test_model_and_global_random_state_are_as_before(fails: bool) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(8, 2))
    model[1].eval()
    model[0].weight.requires_grad_(False)
    bias = model[4].bias
    assert isinstance(bias, Tensor)
    bias.grad = torch.ones(2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    flags = [weight.requires_grad for weight in model.parameters()]
    images = torch.rand(4, 1, 4, 4)
    torch_state, python_state = torch.get_rng_state(), random.getstate()

    def greedy(lent: nn.Module, batch: Batch, stream: Stream) -> Tensor:
        assert not any(module.training for module in lent.modules())
        assert not any(weight.requires_grad for weight in lent.parameters())
        assert torch.is_grad_enabled()
        for weight in lent.parameters():
            weight.requires_grad_(True)
        lent(batch.images).sum().backward()  # fills .grad, as some libraries do
        torch.rand(7)
        if fails:
            raise ValueError("stop")
        return batch.images

    def attack() -> None:
        with torch.no_grad():
            run_attack(Stub(greedy), model, images, torch.tensor([0, 1, 0, 1]), THREAT, seed=0)

    if fails:
        with pytest.raises(ValueError, match="stop"):
            attack()
    else:
        attack()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert [module.training for module in model.modules()] == modes
    assert [weight.requires_grad for weight in model.parameters()] == flags
    assert torch.equal(bias.grad, torch.ones(2))
    assert all(weight.grad is None for weight in model.parameters() if weight is not bias)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_shards_equal_the_whole_even_with_global_draws() -> None:
    def noise(model: nn.Module, batch: Batch, stream: Stream) -> Tensor:
        return batch.images + 0.1 * torch.randn_like(batch.images) * stream.uniform(1)

    images = torch.rand(10, 1, 4, 4)
    labels = (images.mean(dim=(1, 2, 3)) > 0.5).long()
    labels[3] = 1 - labels[3]

    def part(rows: slice, first: int) -> Tensor:
        return run_attack(
            Stub(noise), Brightness(), images[rows], labels[rows], THREAT, seed=5, chunk=4, first_chunk=first
        ).images

    whole = part(slice(0, 10), 0)
    assert torch.equal(whole, torch.cat([part(slice(0, 4), 0), part(slice(4, 10), 1)]))
    assert not torch.equal(whole[4:], part(slice(4, 10), 0))


@pytest.mark.parametrize(
    ("shape", "device", "size"),
    [
        ((3, 32, 32), "cpu", 64),
        ((3, 32, 32), "cuda", 256),
        ((1, 28, 28), "cuda", 256),
        ((3, 48, 48), "cuda", 113),
        ((3, 224, 224), "cuda", 64),
    ],
)
def test_a_gpu_takes_larger_chunks_of_small_images(shape: tuple[int, ...], device: str, size: int) -> None:
    assert chunk_size(None, torch.empty(1, *shape), torch.device(device)) == size
    assert chunk_size(7, torch.empty(1, *shape), torch.device(device)) == 7


@pytest.mark.parametrize("size", [0, -3])
def test_a_chunk_without_images_is_refused(size: int) -> None:
    images, labels = torch.rand(2, 1, 4, 4), torch.zeros(2, dtype=torch.long)
    with pytest.raises(ReinforcedError, match=f"a chunk of {size} images: at least 1"):
        run_attack(PGD(steps=1), Brightness(), images, labels, THREAT, seed=0, chunk=size)


def test_passes_are_counted_in_images() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    images = torch.rand(6, 1, 4, 4)
    labels = model(images).argmax(dim=1)
    labels[0] = 1 - labels[0]
    result = run_attack(
        PGD(steps=3, restarts=2, keep="strongest"), model, images, labels, THREAT, seed=0, chunk=4
    )
    assert (result.forwards, result.gradients) == (5 * 2 * 4, 5 * 2 * 3)
    assert result.seconds > 0
