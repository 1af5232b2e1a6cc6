"""Transfer: borrows its surrogates, asks the target nothing, and is the white-box attack on a copy of it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Attack, AttackResult, Batch, run_attack
from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.random_search import RandomSearch
from reinforced.attacks.seal import sealed
from reinforced.attacks.threat import ThreatModel
from reinforced.attacks.transfer import MeanLogits, Transfer
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream

THREAT = ThreatModel("linf", 0.05)
IMAGES = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def network(seed: int = 0, classes: int = 5, channels: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(),
            nn.Linear(288, classes),
        )  # fmt: skip


TARGET = network().eval()
LABELS = TARGET(IMAGES).argmax(dim=1)


def run(attack: Attack) -> AttackResult:
    return run_attack(attack, TARGET, IMAGES, LABELS, THREAT, seed=0)


@pytest.mark.parametrize(
    "attack",
    [MIFGSM(diversity=0.5), PGD(keep="strongest", random_start=False), FGSM(), RandomSearch(samples=5)],
    ids=lambda attack: attack.name,
)
def test_crafted_on_the_model_itself_it_is_the_white_box_attack(attack: Attack) -> None:
    class Renamed:
        """The white-box attack under the transfer's name, which seeds the stream."""

        name = f"transfer(via={attack.name},from=twin)"
        norms = attack.norms
        candidates = attack.candidates

    transferred, direct = run(Transfer({"twin": copy.deepcopy(TARGET)}, attack)), run(Renamed())
    assert torch.equal(transferred.images, direct.images)
    assert torch.equal(transferred.robust, direct.robust)


def test_the_target_is_not_asked_once() -> None:
    result = run(Transfer({"other": network(1)}))
    assert (result.forwards, result.gradients) == (0, 0)
    assert (result.distances > 0.9 * THREAT.epsilon).all()


def test_the_surrogate_is_as_before() -> None:
    surrogate = network(1)
    surrogate[5].bias.requires_grad_(False)
    surrogate[0].eval()
    before = copy.deepcopy(surrogate)
    state = torch.get_rng_state()
    run(Transfer({"other": surrogate}))
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in before.state_dict().items():
        assert torch.equal(surrogate.state_dict()[name], value)
    for old, new in zip(before.modules(), surrogate.modules(), strict=True):
        assert old.training == new.training
    for one, two in zip(before.parameters(), surrogate.parameters(), strict=True):
        assert one.requires_grad == two.requires_grad
        assert two.grad is None


def test_train_mode_surrogates_craft_in_eval_mode() -> None:
    training, evaluating = network(1), network(1).eval()
    assert torch.equal(run(Transfer({"other": training})).images, run(Transfer({"other": evaluating})).images)


def test_the_target_among_the_surrogates_is_refused() -> None:
    parallel = nn.DataParallel(TARGET) if torch.cuda.is_available() else nn.Sequential(TARGET)
    for surrogate in (TARGET, parallel):
        with pytest.raises(
            ReinforcedError, match="'mine' is the attacked model itself; run fgsm on it"
        ) as caught:
            run(Transfer({"other": network(1), "mine": surrogate}, FGSM()))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("surrogate", "message"),
    [
        (network(classes=2), "surrogate 'odd': labels: found 4, but the model has 2 classes"),
        (network(channels=1), "surrogate 'odd' does not take images of \\(3, 8, 8\\)"),
        (nn.Flatten(0), "surrogate 'odd': model: returned"),
    ],
)
def test_surrogates_that_do_not_fit_are_named(surrogate: nn.Module, message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        run(Transfer({"odd": surrogate}))
    assert "\n" not in str(caught.value)
    with pytest.raises(ReinforcedError, match="no surrogate"):
        Transfer({})


def test_names_norms_and_one_each() -> None:
    pair = {"a": network(1), "b": network(2)}
    assert Transfer(pair).name == "transfer(via=mifgsm(diversity=0.5),from=a+b)"
    assert Transfer(pair, PGD(steps=5)).name == "transfer(via=pgd(steps=5,keep=strongest),from=a+b)"
    assert [attack.name for attack in Transfer.one_each(pair, FGSM())] == [
        "transfer(via=fgsm,from=a)",
        "transfer(via=fgsm,from=b)",
    ]
    assert set(Transfer(pair).norms) == {"linf", "l2"}


def test_several_surrogates_are_attacked_by_their_mean_logits() -> None:
    first, second = network(1).eval(), network(2).eval()

    class Mean(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.stack([first(images), second(images)]).mean(dim=0)

    batch = Batch(IMAGES, LABELS)
    found = (
        Transfer({"a": first, "b": second}, FGSM()).candidates(TARGET, batch, THREAT, Stream(0, "")).images
    )
    with sealed(first, torch.device("cpu")), sealed(second, torch.device("cpu")):
        expected = FGSM().candidates(Mean(), batch, THREAT, Stream(0, "")).images
    assert torch.allclose(found, expected)
    assert torch.allclose(MeanLogits({"a": first, "b": second})(IMAGES), Mean()(IMAGES), atol=1e-6)


def test_strong_iterates_transfer_where_the_first_misclassified_does_not() -> None:
    # The surrogate leans a little more towards the wrong class than the target does.
    def linear(bias: float) -> nn.Module:
        head = nn.Linear(192, 2)
        with torch.no_grad():
            head.weight.copy_(torch.stack([torch.ones(192), -torch.ones(192)]) / 192)
            head.bias.copy_(torch.tensor([bias, -bias]))
        return nn.Sequential(nn.Flatten(), head)

    target, surrogate = linear(-0.38), linear(-0.42)
    images, labels = torch.full((4, 3, 8, 8), 0.5), torch.zeros(4, dtype=torch.int64)
    threat = ThreatModel("linf", 0.2)
    weak = PGD(random_start=False).candidates(surrogate, Batch(images, labels), threat, Stream(0, "")).images
    assert (target(weak).argmax(dim=1) == 0).all()
    result = run_attack(Transfer({"s": surrogate}, PGD()), target, images, labels, threat, seed=0)
    assert not result.robust.any()
