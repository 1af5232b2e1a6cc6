"""What every attack owes: a new attack gets all of these checks with one row of ``ATTACKS``."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.apgd import APGD
from reinforced.attacks.base import Attack, AttackResult, run_attack
from reinforced.attacks.boundary import Boundary
from reinforced.attacks.ddn import DDN
from reinforced.attacks.fab import FAB
from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.fmn import FMN
from reinforced.attacks.hopskipjump import HopSkipJump
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.random_search import RandomSearch
from reinforced.attacks.rays import RayS
from reinforced.attacks.spec import ATTACKS as NAMED
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.square import Square
from reinforced.attacks.threat import NORMS, ThreatModel
from reinforced.errors import ReinforcedError

ATTACKS: dict[str, Callable[[], Attack]] = {
    "fgsm": FGSM,
    "fgsm(random_start=true)": lambda: FGSM(random_start=True),
    "pgd": PGD,
    "pgd(loss=gap,momentum=0.75)": lambda: PGD(loss="gap", momentum=0.75),
    "pgd(loss=dlr,targeted=true)": lambda: PGD(loss="dlr", targeted=True),
    "pgd(eot=2)": lambda: PGD(eot=2),
    "mifgsm": MIFGSM,
    "mifgsm(diversity=0.5)": lambda: MIFGSM(diversity=0.5),
    "apgd(steps=20)": lambda: APGD(steps=20),
    "apgd(steps=10,targeted=true)": lambda: APGD(steps=10, targeted=True),
    "fab(steps=20)": lambda: FAB(steps=20),
    "square(queries=500)": lambda: Square(queries=500),
    "fmn": FMN,
    "ddn": DDN,
    "random_search(samples=300)": lambda: RandomSearch(samples=300),
    "hopskipjump(steps=6)": lambda: HopSkipJump(steps=6),
    "boundary(steps=800,spherical_step=0.05,source_step=0.05)": lambda: Boundary(
        steps=800, spherical_step=0.05, source_step=0.05
    ),
    "rays(queries=500)": lambda: RayS(queries=500),
}

EPSILON = {"linf": 0.05, "l2": 0.8}

CASES = [
    pytest.param(constructor(), ThreatModel(norm, EPSILON[norm]), id=f"{name}-{norm}")
    for name, constructor in ATTACKS.items()
    for norm in constructor().norms
]
every_attack = pytest.mark.parametrize(("attack", "threat"), CASES)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    """A small network in train mode, with batch norm and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(128, 5),
        )  # fmt: skip


@pytest.fixture(scope="module")
def data(model: nn.Sequential) -> tuple[Tensor, Tensor]:
    """70 images, two chunks, of which every tenth is misclassified."""
    images = torch.rand(70, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    model.eval()
    head = model[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.bias.sub_(model(images).mean(dim=0))  # else one class takes every image, by too wide a margin
        labels = model(images).argmax(dim=1)
    model.train()
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels


def attacked(
    attack: Attack, model: nn.Module, data: tuple[Tensor, Tensor], threat: ThreatModel, seed: int = 0
) -> AttackResult:
    return run_attack(attack, model, *data, threat, seed=seed)


def test_every_named_attack_has_a_row() -> None:
    """AutoAttack's cascade is too long for this table; tests/attacks/test_autoattack.py runs it."""
    assert {name.partition("(")[0] for name in ATTACKS} | {"autoattack"} == set(NAMED)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_row_has_the_attacks_name_and_norms(name: str) -> None:
    attack = ATTACKS[name]()
    assert attack.name == name
    assert parse_attack(name) == attack
    assert attack.norms
    assert set(attack.norms) <= set(NORMS)


@pytest.mark.parametrize("name", ATTACKS)
def test_other_norms_are_refused(name: str, model: nn.Module, data: tuple[Tensor, Tensor]) -> None:
    attack = ATTACKS[name]()
    for norm in set(NORMS) - set(attack.norms):
        with pytest.raises(ReinforcedError, match="does not work in"):
            attacked(attack, model, data, ThreatModel(norm, EPSILON[norm]))


@every_attack
def test_breaks_some_images_and_stays_inside(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    images, _ = data
    result = attacked(attack, model, data, threat)
    assert result.clean_correct.tolist() == [i % 10 != 0 for i in range(70)]
    assert not (result.robust & ~result.clean_correct).any()
    assert result.robust.sum() < result.clean_correct.sum() / 2
    assert torch.equal(threat.excess(result.images, images), torch.zeros(70))
    assert torch.allclose(result.distances, threat.distance(result.images, images))
    assert torch.equal(result.images[~result.clean_correct], images[~result.clean_correct])
    assert result.forwards > 0


@every_attack
def test_same_seed_same_bytes(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    first = attacked(attack, model, data, threat)
    torch.rand(3)  # the global stream's place must not matter
    second = attacked(attack, model, data, threat)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.robust, second.robust)
    assert (first.forwards, first.gradients) == (second.forwards, second.gradients)


@every_attack
def test_shards_equal_the_whole(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    images, labels = data
    whole = attacked(attack, model, data, threat)
    head = run_attack(attack, model, images[:64], labels[:64], threat, seed=0)
    tail = run_attack(attack, model, images[64:], labels[64:], threat, seed=0, first_chunk=1)
    assert torch.equal(whole.images, torch.cat([head.images, tail.images]))
    assert torch.equal(whole.robust, torch.cat([head.robust, tail.robust]))


@every_attack
def test_nothing_is_left_behind(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    images, labels = (tensor.clone() for tensor in data)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    attacked(attack, model, data, threat)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, data[0])
    assert torch.equal(labels, data[1])
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_attack
def test_epsilon_zero_changes_nothing(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    result = attacked(attack, model, data, ThreatModel(threat.norm, 0))
    assert torch.equal(result.robust, result.clean_correct)
    assert torch.equal(result.images, data[0])


@every_attack
def test_memory_format_does_not_matter_to_the_call(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: tuple[Tensor, Tensor]
) -> None:
    images = data[0].contiguous(memory_format=torch.channels_last)
    result = attacked(attack, model, (images, data[1]), threat)
    assert torch.equal(threat.excess(result.images, images), torch.zeros(70))
