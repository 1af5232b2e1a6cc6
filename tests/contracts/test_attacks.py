"""What every attack owes: a new attack gets all of these checks with one row of ``ATTACKS``."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.apgd import APGD
from reinforced.attacks.autoattack import AutoAttack
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
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.attacks.transfer import Transfer
from reinforced.errors import ReinforcedError

Data = tuple[Tensor, Tensor]
Whole = Callable[[Attack, ThreatModel], AttackResult]

IMAGES = torch.rand(25, 3, 8, 8, generator=torch.Generator().manual_seed(1))
run = partial(run_attack, seed=0, chunk=16)


def network(noise: float = 0.0) -> nn.Sequential:
    """A small network in train mode, with batch norm and dropout; ``noise`` makes it another one."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        head = nn.Linear(128, 5)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
            nn.AvgPool2d(2), nn.Flatten(), head,
        )  # fmt: skip
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * weight.abs().mean(), alpha=noise)
        # Else one class takes every image, by too wide a margin.
        head.bias.sub_(model.eval()(IMAGES).mean(dim=0))
    return model.train()


@dataclass(frozen=True)
class Row:
    """An attack, and what it owes on linear classifiers (test_attacks_optimum.py).

    Args:
        attack: short enough for the checks of this file.
        owes: the factor over the boundary's closed-form distance at which it breaks everything. ``optimum``:
            1.01, a white-box attack in a ball; ``nearest``: 1.25, one that looks for the nearest adversarial
            image; ``half``: 2, a black-box one.
        at: the settings with which it owes that, where those of ``attack`` do not suffice.
        queries: the forward passes an image that it may spend on it, where it has no gradients.
        side: of the images there, in pixels.
    """

    attack: Attack
    owes: Literal["optimum", "nearest", "half"]
    at: Attack | None = None
    queries: int | None = None
    side: int = 16


walk = partial(Boundary, spherical_step=0.05, source_step=0.05)
# From a random start the default steps of PGD leave L2 at 0.98 of the optimum, however many: they shrink what
# the start has across the gradient to a sixth. On a linear model the start earns nothing for that.
still = partial(PGD, random_start=False)
ATTACKS = {
    "fgsm": Row(FGSM(), "optimum"),
    # Starts anywhere in the ball, and one step does not leave that behind: 0.75 to 0.8 of the optimum.
    "fgsm(random_start=true)": Row(FGSM(random_start=True), "half"),
    "pgd": Row(PGD(), "optimum", still()),
    "pgd(loss=gap,momentum=0.75)": Row(
        PGD(loss="gap", momentum=0.75), "optimum", still(loss="gap", momentum=0.75)
    ),
    "pgd(loss=dlr,targeted=true)": Row(
        PGD(loss="dlr", targeted=True), "optimum", still(loss="dlr", targeted=True)
    ),
    "pgd(eot=2)": Row(PGD(eot=2), "optimum", still(eot=2)),
    "mifgsm": Row(MIFGSM(), "optimum"),
    # Follows the gradients at resized images, not at the image's own: 0.97 of the optimum.
    "mifgsm(diversity=0.5)": Row(MIFGSM(diversity=0.5), "half"),
    "apgd(steps=20)": Row(APGD(steps=20), "optimum"),
    "apgd(steps=10,targeted=true)": Row(APGD(steps=10, targeted=True), "optimum"),
    "fab(steps=20)": Row(FAB(steps=20), "nearest"),
    "square(queries=500)": Row(Square(queries=500), "half", Square(queries=1000), queries=1003),
    "fmn": Row(FMN(), "nearest"),
    "ddn": Row(DDN(), "nearest"),
    # The best of a few random directions in d dimensions is about 4 / sqrt(d) of the optimum: 16 pixels.
    "random_search(samples=300)": Row(
        RandomSearch(samples=300), "half", RandomSearch(samples=1000), queries=1000, side=4
    ),
    "hopskipjump(steps=4)": Row(HopSkipJump(steps=4), "nearest", HopSkipJump(steps=20), queries=7000),
    "boundary(steps=500,spherical_step=0.05,source_step=0.05)": Row(
        walk(steps=500), "nearest", walk(steps=3000), queries=3500
    ),
    "rays(queries=500)": Row(RayS(queries=500), "nearest", queries=500),
    "transfer(via=mifgsm(diversity=0.5),from=other)": Row(
        Transfer({"other": network(noise=0.3)}), "half", queries=0
    ),
}
LONG = {"autoattack": Row(AutoAttack(), "optimum")}
"""Too long for this file on images that stand; tests/attacks/test_autoattack.py runs it on such."""

EPSILON: dict[Norm, float] = {"linf": 0.05, "l2": 0.8}

CASES = [
    pytest.param(row.attack, ThreatModel(norm, EPSILON[norm]), id=f"{name}-{norm}")
    for name, row in ATTACKS.items()
    for norm in row.attack.norms
]
every_attack = pytest.mark.parametrize(("attack", "threat"), CASES)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return network()


@pytest.fixture(scope="module")
def data() -> Data:
    """25 images, two chunks, of which every fifth is misclassified."""
    with torch.no_grad():
        labels = network().eval()(IMAGES).argmax(dim=1)
    labels[::5] = (labels[::5] + 1) % 5
    return IMAGES.clone(), labels


@pytest.fixture(scope="module")
def few(data: Data) -> Data:
    """Enough where chunks do not matter."""
    return data[0][:6], data[1][:6]


@pytest.fixture(scope="module")
def whole(model: nn.Module, data: Data) -> Whole:
    """The attack on all images with seed 0, run once for all the checks that look at it."""
    found: dict[tuple[str, ThreatModel], AttackResult] = {}

    def once(attack: Attack, threat: ThreatModel) -> AttackResult:
        case = attack.name, threat
        if case not in found:
            found[case] = run(attack, model, *data, threat)
        return found[case]

    return once


def test_every_named_attack_has_a_row() -> None:
    rows = {name.partition("(")[0] for name in ATTACKS | LONG}
    assert rows == {*NAMED, "transfer"}  # whose surrogates the command line has no words for


@pytest.mark.parametrize("name", ATTACKS | LONG)
def test_the_row_has_the_attacks_name_and_norms(name: str) -> None:
    attack = (ATTACKS | LONG)[name].attack
    assert attack.name == name
    assert isinstance(attack, Transfer) or parse_attack(name) == attack
    assert attack.norms
    assert set(attack.norms) <= set(NORMS)


@pytest.mark.parametrize("name", ATTACKS | LONG)
def test_other_norms_are_refused_by_name(name: str, model: nn.Module, data: Data) -> None:
    attack = (ATTACKS | LONG)[name].attack
    known = ", ".join(sorted(attack.norms))
    for norm in set(NORMS) - set(attack.norms):
        message = re.escape(f"attack {name!r}: does not work in {norm}; it knows {known}")
        with pytest.raises(ReinforcedError, match=message):
            run(attack, model, *data, ThreatModel(norm, EPSILON[norm]))


@every_attack
def test_breaks_some_images_and_stays_inside(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: Data, whole: Whole
) -> None:
    images, labels = data
    result = whole(attack, threat)
    assert result.clean_correct.tolist() == [i % 5 != 0 for i in range(25)]
    assert not (result.robust & ~result.clean_correct).any()
    assert result.robust.sum() < result.clean_correct.sum() / 2
    with torch.no_grad():
        still_right = model.eval()(result.images).argmax(dim=1) == labels
    model.train()
    assert torch.equal(result.robust, still_right)
    assert torch.equal(threat.excess(result.images, images), torch.zeros(25))
    assert torch.allclose(result.distances, threat.distance(result.images, images))
    assert torch.equal(result.images[~result.clean_correct], images[~result.clean_correct])
    assert result.forwards + result.elsewhere > 0


@every_attack
def test_same_seed_same_bytes(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: Data, whole: Whole
) -> None:
    first = whole(attack, threat)
    torch.rand(3)  # the global stream's place must not matter
    second = run(attack, model, *data, threat)
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.robust, second.robust)
    assert (first.forwards, first.gradients) == (second.forwards, second.gradients)
    assert first.elsewhere == second.elsewhere


@every_attack
def test_shards_equal_the_whole(
    attack: Attack, threat: ThreatModel, model: nn.Module, data: Data, whole: Whole
) -> None:
    images, labels = data
    head = run(attack, model, images[:16], labels[:16], threat)
    tail = run(attack, model, images[16:], labels[16:], threat, first_chunk=1)
    both = whole(attack, threat)
    assert torch.equal(both.images, torch.cat([head.images, tail.images]))
    assert torch.equal(both.robust, torch.cat([head.robust, tail.robust]))


@every_attack
def test_nothing_is_left_behind(attack: Attack, threat: ThreatModel, model: nn.Module, few: Data) -> None:
    images, labels = (tensor.clone() for tensor in few)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    run(attack, model, images, labels, threat)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, few[0])
    assert torch.equal(labels, few[1])
    assert all(module.training for module in model.modules())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_attack
def test_epsilon_zero_changes_nothing(
    attack: Attack, threat: ThreatModel, model: nn.Module, few: Data
) -> None:
    result = run(attack, model, *few, ThreatModel(threat.norm, 0))
    assert torch.equal(result.robust, result.clean_correct)
    assert torch.equal(result.images, few[0])


@every_attack
def test_memory_format_does_not_matter_to_the_call(
    attack: Attack, threat: ThreatModel, model: nn.Module, few: Data
) -> None:
    images = few[0].contiguous(memory_format=torch.channels_last)
    result = run(attack, model, images, few[1], threat)
    assert torch.equal(threat.excess(result.images, images), torch.zeros(6))
