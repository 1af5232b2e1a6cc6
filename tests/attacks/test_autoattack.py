"""The attacks through pyautoattack: equal to it called directly, and what their options and flags mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyautoattack  # type: ignore[import-untyped]
import pytest
import torch
import torch.nn.functional as F
from pyautoattack import checks
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted  # type: ignore[import-untyped]
from pyautoattack.fab_pt import FABAttack_PT  # type: ignore[import-untyped]
from pyautoattack.square import SquareAttack  # type: ignore[import-untyped]
from pydantic import ValidationError
from torch import Tensor, nn

from reinforced.attacks.apgd import APGD
from reinforced.attacks.autoattack import AutoAttack
from reinforced.attacks.base import CHUNK, Batch, Flag, run_attack
from reinforced.attacks.fab import FAB
from reinforced.attacks.pyaa import Ear, PyAutoAttack, propose
from reinforced.attacks.square import Square
from reinforced.attacks.threat import ThreatModel
from reinforced.data import Split, load, to_float
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.streams import Stream

Data = tuple[nn.Module, Tensor, Tensor]
Direct = Callable[[nn.Module, Tensor, Tensor, dict[str, Any]], Tensor]
LINF, L2 = ThreatModel("linf", 0.08), ThreatModel("l2", 0.5)


@pytest.fixture(scope="module")
def data() -> Data:
    """A small convolutional network trained on ten noisy 8 x 8 patterns, and 16 rightly classified images."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        labels = torch.arange(400) % 10
        images = (torch.rand(10, 1, 8, 8)[labels] + 0.25 * torch.randn(400, 1, 8, 8)).clamp(0, 1)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(128, 10),
        )  # fmt: skip
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(40):
            chosen = torch.randint(0, 400, (64,))
            optimizer.zero_grad()
            F.cross_entropy(model(images[chosen]), labels[chosen]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    model.eval().requires_grad_(False)
    right = (model(images).argmax(dim=1) == labels).nonzero().squeeze(1)[:16]
    return model, images[right], labels[right]


def apgd(loss: str, restarts: int = 1) -> Direct:
    return lambda model, x, y, options: APGDAttack(
        model, n_iter=20, n_restarts=restarts, loss=loss, **options
    ).perturb(x, y)


def apgd_targeted(model: nn.Module, x: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    found: Tensor = APGDAttack_targeted(model, n_iter=15, n_target_classes=4, **options).perturb(x, y)
    return found


def fab(targeted: bool) -> Direct:
    return lambda model, x, y, options: FABAttack_PT(
        model, n_iter=10, n_restarts=2, targeted=targeted, n_target_classes=3, **options
    ).perturb(x, y)


def square(model: nn.Module, x: Tensor, y: Tensor, options: dict[str, Any]) -> Tensor:
    attack = SquareAttack(model, n_queries=300, n_restarts=2, p_init=0.8, resc_schedule=False, **options)
    found: Tensor = attack.perturb(x, y)
    return found


def ensemble(version: str) -> Direct:
    return lambda model, x, y, options: pyautoattack.AutoAttack(
        model, version=version, **options
    ).run_standard_evaluation(x, y)[0]


DIFFERENTIAL: list[tuple[PyAutoAttack, ThreatModel, Direct]] = [
    *((APGD(steps=20), threat, apgd("ce")) for threat in (LINF, L2)),
    *((APGD(steps=20, restarts=2, loss="dlr"), threat, apgd("dlr", 2)) for threat in (LINF, L2)),
    *((APGD(steps=15, targeted=True, target_classes=4), threat, apgd_targeted) for threat in (LINF, L2)),
    *((FAB(steps=10, restarts=2), threat, fab(False)) for threat in (LINF, L2)),
    *(
        (FAB(steps=10, restarts=2, targeted=True, target_classes=3), threat, fab(True))
        for threat in (LINF, L2)
    ),
    *(
        (Square(queries=300, restarts=2), threat, square)
        for threat in (ThreatModel("linf", 0.12), ThreatModel("l2", 0.9))
    ),
]


@pytest.mark.parametrize(
    ("attack", "threat", "direct"),
    [pytest.param(*row, id=f"{row[0].name}-{row[1]}") for row in DIFFERENTIAL],
)
def test_equal_to_pyautoattack_called_directly(
    attack: PyAutoAttack, threat: ThreatModel, direct: Direct, data: Data
) -> None:
    compare(attack, threat, direct, data)


@pytest.fixture
def short_cascade(monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever builds one."""
    set_version = pyautoattack.AutoAttack._set_version

    def shortened(attack: Any, version: str) -> None:
        set_version(attack, version)
        attack.apgd.n_iter = attack.apgd_targeted.n_iter = attack.fab.n_iter = 6
        attack.square.n_queries = 60

    monkeypatch.setattr(pyautoattack.AutoAttack, "_set_version", shortened)


@pytest.mark.usefixtures("short_cascade")
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
def test_the_cascade_is_pyautoattacks(version: str, threat: ThreatModel, data: Data) -> None:
    compare(AutoAttack.model_validate({"version": version}), threat, ensemble(version), data)


def test_the_cascade_at_its_full_length(data: Data) -> None:
    model, images, labels = data
    robust = compare(AutoAttack(), LINF, ensemble("standard"), (model, images[:6], labels[:6]))
    assert robust.any()


@pytest.fixture(scope="module")
def digits() -> Data:
    """A network trained on the digits for a moment, and test images, of which every fifth is mislabelled."""
    dataset = load("digits")

    def first(split: Split, count: int) -> tuple[Tensor, Tensor]:
        images, labels = split.batch(torch.arange(count))
        # Ours is handed plain strides; convolutions round otherwise on those that grey images come with.
        return to_float(images).clone(memory_format=torch.contiguous_format), labels

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build("tiny", shape=(1, 8, 8), classes=10)
        images, labels = first(dataset.train, 512)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for _ in range(25):
            optimizer.zero_grad()
            F.cross_entropy(model(images), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    images, labels = first(dataset.test, 24)
    labels[::5] = (labels[::5] + 1) % 10
    return model.eval().requires_grad_(False), images, labels


@pytest.mark.usefixtures("short_cascade")
@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.15), ThreatModel("l2", 0.9)], ids=str)
@pytest.mark.parametrize(
    ("attack", "direct"),
    [
        pytest.param(APGD(steps=20), apgd("ce"), id="apgd"),
        pytest.param(FAB(steps=10, restarts=2), fab(False), id="fab"),
        pytest.param(Square(queries=300, restarts=2), square, id="square"),
        pytest.param(AutoAttack(), ensemble("standard"), id="autoattack"),
    ],
)
def test_on_digits_in_chunks_the_same_images_break(
    attack: PyAutoAttack, direct: Direct, threat: ThreatModel, digits: Data
) -> None:
    compare(attack, threat, direct, digits, chunk=16)


def compare(
    attack: PyAutoAttack, threat: ThreatModel, direct: Direct, data: Data, chunk: int = CHUNK
) -> Tensor:
    """Both on the same chunks from the same seeds: the same bytes, up to the projection, and some break."""
    model, images, labels = data
    right = model(images).argmax(dim=1) == labels
    theirs = images.clone()
    for number, start in enumerate(range(0, len(images), chunk)):
        kept = start + right[start : start + chunk].nonzero().squeeze(1)
        seed = Stream(7, f"{attack.name}/{number}").generator.initial_seed()
        options = {"norm": threat.norm.capitalize(), "eps": threat.epsilon, "seed": seed, "device": "cpu"}
        with torch.random.fork_rng():
            theirs[kept] = direct(model, images[kept], labels[kept], options).detach()
    ours = run_attack(attack, model, images, labels, threat, seed=7, chunk=chunk)
    assert torch.equal(ours.clean_correct, right)
    assert not ours.robust[right].all()
    assert torch.equal(ours.robust, right & (model(theirs).argmax(dim=1) == labels))
    assert torch.equal(ours.images, threat.project(theirs, images))
    return ours.robust


@pytest.mark.parametrize("threat", [LINF, L2], ids=str)
@pytest.mark.parametrize("attack", [Square(queries=20), FAB(steps=3, restarts=2), APGD(steps=3)])
def test_the_stream_alone_decides_the_draws(attack: PyAutoAttack, threat: ThreatModel, data: Data) -> None:
    model, images, labels = data
    batch = Batch(images, labels)
    small = ThreatModel(threat.norm, threat.epsilon / 2)  # where nothing breaks, no attack stops early
    first, again = (attack.candidates(model, batch, small, Stream(1, "a")).images for _ in range(2))
    assert torch.equal(first, again)
    if not isinstance(attack, Square):
        return
    large = ThreatModel(threat.norm, threat.epsilon * 6)
    one, other = (attack.candidates(model, batch, large, Stream(1, name)).images for name in "ab")
    assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("attack", "forwards", "gradients"),
    [
        (APGD(steps=7, restarts=2), 1 + 2 * 8, 2 * 8),
        (APGD(steps=7, eot=3), 1 + 8 * 3, 8 * 3),
        (APGD(steps=7, targeted=True, target_classes=4), 1 + 4 * (1 + 8), 4 * 8),
        (FAB(steps=6), 1 + 2 + 2 * 6, 10 * 6),
        (FAB(steps=6, targeted=True, target_classes=4), 1 + 4 * (3 + 2 * 6), 4 * 6),
        (Square(queries=9, restarts=2), 1 + 2 * (2 + 9), 0),
    ],
    ids=lambda value: value.name if isinstance(value, PyAutoAttack) else "",
)
def test_passes_of_an_image_that_stands(
    attack: PyAutoAttack, forwards: int, gradients: int, data: Data
) -> None:
    model, images, labels = data
    result = run_attack(attack, model, images, labels, ThreatModel("linf", 1e-4), seed=0)
    assert result.robust.all()
    # To know the number of classes, one image of the chunk goes through once more.
    extra = 1 if isinstance(attack, APGD | FAB) and attack.targeted else 0
    assert (result.forwards, result.gradients) == (16 * forwards + extra, 16 * gradients)


def test_fab_records_the_distance_of_what_it_found(data: Data) -> None:
    model, images, labels = data
    result = run_attack(FAB(steps=20), model, images, labels, LINF, seed=0)
    assert torch.equal(result.unprojected.isinf(), result.robust)
    found = ~result.robust
    assert torch.allclose(result.unprojected[found], result.distances[found])
    assert (result.distances[found] < LINF.epsilon).all()


def test_epsilon_zero_asks_nothing_of_the_model(data: Data) -> None:
    model, images, labels = data
    result = run_attack(AutoAttack(), model, images, labels, ThreatModel("l2", 0), seed=0)
    assert result.robust.all()
    assert result.forwards == 0


def test_options_are_read_from_text_and_named() -> None:
    assert (
        APGD.model_validate({"steps": "50", "loss": "dlr", "eot": "20"}).name
        == "apgd(loss=dlr,steps=50,eot=20)"
    )
    assert FAB.model_validate({"targeted": "true", "target_classes": "3"}).target_classes == 3
    assert (
        Square.model_validate({"queries": "100", "p_init": "0.05"}).name == "square(queries=100,p_init=0.05)"
    )
    assert AutoAttack.model_validate({"version": "rand"}).name == "autoattack(version=rand)"
    assert (Square.access, AutoAttack.access) == ("scores", "gradients")


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (APGD, {"targeted": True, "loss": "ce"}, "no targeted form"),
        (APGD, {"target_classes": 3}, "only with targeted=true"),
        (FAB, {"target_classes": 3}, "only with targeted=true"),
        (APGD, {"loss": "mse"}, "'ce' or 'dlr'"),
        (APGD, {"steps": 0}, "greater than or equal to 1"),
        (Square, {"p_init": 1.5}, "less than or equal to 1"),
        (AutoAttack, {"version": "fast"}, "'standard', 'plus' or 'rand'"),
        (AutoAttack, {"seed": 1}, "Extra inputs"),
    ],
)
def test_options_without_meaning_are_refused(
    kind: type[PyAutoAttack], options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(options)


class Bright(nn.Module):
    """K classes by the mean pixel, wrong as soon as it falls; ``twist`` makes the logits suspect."""

    def __init__(self, classes: int, twist: Callable[[Tensor, Tensor], Tensor] = lambda z, x: z) -> None:
        super().__init__()
        self.classes, self.twist = classes, twist

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean(dim=(1, 2, 3))[:, None]
        slopes = 10 * torch.arange(1, self.classes + 1)
        return self.twist((mean - 0.5) * slopes, images)


def grey(n: int = 3) -> Tensor:
    return torch.full((n, 1, 8, 8), 0.52)


def flags(attack: PyAutoAttack, model: Bright, epsilon: float = 0.1) -> dict[str, Flag]:
    batch = Batch(grey(), torch.full((3,), model.classes - 1))
    threat = ThreatModel("linf", epsilon)
    found = propose(attack, model, batch, threat, Stream(0, "test")).flags
    assert all("\n" not in flag.message for flag in found)
    return {flag.kind: flag for flag in found}


def test_a_plain_model_raises_no_flag() -> None:
    assert flags(AutoAttack(), Bright(10)) == {}


@pytest.mark.parametrize(
    ("kind", "twist"),
    [
        ("randomised", lambda z, x: z + 0.01 * torch.rand_like(z)),
        ("probabilities", lambda z, x: z.softmax(dim=1)),
    ],
)
def test_autoattacks_warnings_become_flags(kind: str, twist: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert set(flags(AutoAttack(), Bright(10, twist))) == {kind}


def test_zero_gradients_are_counted() -> None:
    flat = Bright(4, lambda z, x: z.detach() + 0 * x.sum(dim=(1, 2, 3))[:, None])
    found = flags(APGD(loss="dlr", steps=2), flat, epsilon=0.01)
    assert found["zero_gradients"].images == 3


def test_the_count_of_images_that_square_broke_is_kept() -> None:
    ear = Ear(64)
    checks.check_square_sr({"clean": 1.0, "apgd-ce": 0.75, "square": 0.75 - 5 / 64}, logger=ear)
    checks.check_square_sr({"clean": 1.0, "apgd-ce": 0.75, "square": 0.75 - 2 / 64}, logger=ear)
    assert ear.flags["square_helped"].images == 5
    with pytest.raises(RuntimeError, match="unknown"):
        ear.warning("something new")


def test_fewer_classes_than_targets_are_all_targeted() -> None:
    assert set(flags(AutoAttack(), Bright(5))) == {"few_classes"}
    assert "few_classes" in flags(APGD(targeted=True, steps=5), Bright(4))
    assert set(flags(FAB(targeted=True, steps=5), Bright(2))) == {"few_classes"}
    assert "few_classes" not in flags(APGD(targeted=True, target_classes=3, steps=5), Bright(4))
    assert flags(AutoAttack(version="rand"), Bright(3)) == {}


@pytest.mark.parametrize(
    ("attack", "classes", "message"),
    [
        (AutoAttack(), 3, "autoattack: needs at least 4 classes .* use apgd, fab"),
        (AutoAttack(version="plus"), 2, "needs at least 4 classes for its DLR loss, and the model has 2;"),
        (AutoAttack(version="rand"), 2, r"needs at least 3 classes .* use apgd\(eot=20\)"),
        (APGD(targeted=True), 3, r"needs at least 4 .* use apgd\(loss=ce\) or fab"),
        (APGD(loss="dlr"), 2, r"needs at least 3 .* use apgd\(loss=ce\)"),
    ],
    ids=lambda value: value.name if isinstance(value, PyAutoAttack) else None,
)
def test_too_few_classes_for_the_loss(attack: PyAutoAttack, classes: int, message: str) -> None:
    labels = torch.full((3,), classes - 1)
    with pytest.raises(ReinforcedError, match=message) as caught:
        run_attack(attack, Bright(classes), grey(), labels, LINF, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("attack", [APGD(), FAB(), FAB(targeted=True, target_classes=1), Square(queries=50)])
def test_what_is_named_instead_works_on_two_classes(attack: PyAutoAttack) -> None:
    result = run_attack(attack, Bright(2), grey(), torch.ones(3, dtype=torch.int64), LINF, seed=0)
    assert not result.robust.any()
