"""Starting points for attacks that begin at an adversarial image, and the record of what was found."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.boundary import Boundary
from reinforced.attacks.ddn import DDN
from reinforced.attacks.fmn import FMN
from reinforced.attacks.hopskipjump import HopSkipJump
from reinforced.attacks.minimum_norm import BEYOND, minimise, settled, starting_points
from reinforced.attacks.rays import RayS
from reinforced.attacks.threat import ThreatModel
from reinforced.streams import Stream

L2 = ThreatModel("l2", 0.5)


class Bright(nn.Module):
    """Class 1 where the mean is above ``threshold``; counts the images it has seen."""

    def __init__(self, threshold: float = 0.5) -> None:
        super().__init__()
        self.threshold, self.seen = threshold, 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        score = images.flatten(1).mean(dim=1) - self.threshold
        return torch.stack([-score, score], dim=1)


def batch(n: int = 4, level: float = 0.2) -> Batch:
    return Batch(torch.full((n, 3, 8, 8), level), torch.zeros(n, dtype=torch.int64))


def test_starts_are_adversarial_and_near() -> None:
    model, images = Bright(0.3), batch()
    starts, found = starting_points(model, images, Stream(0, "test"), 10)
    assert found.all()
    assert (model(starts).argmax(dim=1) == 1).all()
    # Noise has a mean of 0.5: a third of the way is enough, and blends come in steps of a fiftieth.
    assert (starts.mean(dim=(1, 2, 3)) < 0.32).all()


def test_block_noise_reaches_classes_that_fine_noise_does_not() -> None:
    # The mean of 192 uniform draws is never above 0.75, that of one draw a channel is.
    model, images = Bright(0.75), batch()
    fine = torch.rand(2000, 192, generator=torch.Generator().manual_seed(0)).mean(dim=1)
    assert fine.max() < 0.75
    _, found = starting_points(model, images, Stream(0, "test"), 400)
    assert found.all()


def test_each_image_has_its_own_success() -> None:
    model, images = Bright(0.3), batch()
    images.labels[1] = 1  # fine noise is of this class
    starts, found = starting_points(model, images, Stream(0, "test"), 1)
    assert found.tolist() == [True, False, True, True]
    assert torch.equal(starts[1], images.images[1])
    assert not torch.equal(starts[0], starts[2])


def test_queries_for_starts_are_bounded_and_spent_on_images_without_one() -> None:
    model = Bright(2)
    starts, found = starting_points(model, batch(), Stream(0, "test"), 30)
    assert not found.any()
    assert torch.equal(starts, batch().images)
    assert model.seen == 4 * 30
    model = Bright(0.3)
    starting_points(model, batch(), Stream(0, "test"), 30)
    assert model.seen <= 4 * (1 + 49)


def test_starts_come_from_the_stream_alone() -> None:
    first, _ = starting_points(Bright(0.3), batch(), Stream(0, "test"), 10)
    torch.rand(5)
    again, _ = starting_points(Bright(0.3), batch(), Stream(0, "test"), 10)
    other, _ = starting_points(Bright(0.3), batch(), Stream(1, "test"), 10)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    "attack", [HopSkipJump(steps=2, initial_evaluations=10), Boundary(steps=20)], ids=lambda a: a.name
)
def test_one_image_without_a_start_costs_only_itself(attack: HopSkipJump | Boundary) -> None:
    # The only draw has a mean of about 0.5: for the bright image that is its own class.
    images = torch.cat([torch.full((2, 3, 8, 8), 0.2), torch.full((1, 3, 8, 8), 0.9)])
    labels = torch.tensor([0, 0, 1])
    few = attack.model_copy(update={"start_draws": 1})
    output = few.candidates(Bright(0.3), Batch(images, labels), L2, Stream(0, "test"))
    assert output.unprojected is not None
    assert output.unprojected.isfinite().tolist() == [True, True, False]
    assert torch.equal(output.images[2], images[2])
    assert [(flag.kind, flag.images) for flag in output.flags] == [("no_start", 1)]


@pytest.mark.parametrize("attack", [FMN(steps=3), DDN(steps=3), RayS(queries=20)], ids=lambda a: a.name)
def test_attacks_that_need_no_start_say_where_they_found_nothing(attack: FMN | DDN | RayS) -> None:
    # Where the mean must exceed 2, nothing in the box is adversarial; where 0.21, everything a step away is.
    threat = ThreatModel(attack.norms[0], 0.5)
    lost = attack.candidates(Bright(2), batch(3), threat, Stream(0, "test"))
    assert lost.unprojected is not None
    assert lost.unprojected.isinf().all()
    assert [(flag.kind, flag.images) for flag in lost.flags] == [("nothing_found", 3)]
    assert "\n" not in lost.flags[0].message
    found = attack.candidates(Bright(0.21), batch(3), threat, Stream(0, "test"))
    assert found.unprojected is not None
    assert found.unprojected.isfinite().all()
    assert found.flags == ()


def test_a_start_that_is_lost_again_is_not_a_missing_start() -> None:
    images, started = batch(3, 0.4), torch.tensor([True, True, False])
    output = settled(Bright(0.5), images, L2, images.images, started=started)
    assert {flag.kind: flag.images for flag in output.flags} == {"no_start": 1, "nothing_found": 2}


def test_the_runner_counts_images_without_a_start_over_all_chunks() -> None:
    hopskipjump = HopSkipJump(steps=1, initial_evaluations=5, start_draws=1)
    five = batch(5)
    result = run_attack(hopskipjump, Bright(2), five.images, five.labels, L2, seed=0, chunk=2)
    assert [(flag.kind, flag.images) for flag in result.flags] == [("no_start", 5)]


def test_found_images_are_moved_a_little_beyond_the_boundary() -> None:
    model, images = Bright(0.5), batch(2, 0.4)
    edge = torch.full((2, 3, 8, 8), 0.5)
    found = torch.nextafter(edge, edge + 1)
    output = settled(model, images, L2, found)
    expected = L2.distance(found, images.images) * (1 + BEYOND)
    assert output.unprojected is not None
    assert torch.allclose(output.unprojected, expected, rtol=1e-5)
    assert model.seen == 4


def test_where_beyond_is_not_adversarial_the_image_itself_is_kept() -> None:
    class Band(Bright):
        """Adversarial in a thin band alone."""

        def forward(self, images: Tensor) -> Tensor:
            mean = images.flatten(1).mean(dim=1)
            inside = ((mean > 0.5) & (mean < 0.50005)).float()
            return torch.stack([0.5 - inside, inside], dim=1)

    images = batch(1, 0.4)
    found = torch.full((1, 3, 8, 8), 0.50002)
    output = settled(Band(), images, L2, found)
    assert torch.equal(output.images, found)


def test_what_is_not_adversarial_or_not_finite_is_the_clean_image() -> None:
    images = batch(3, 0.4)
    found = torch.full((3, 3, 8, 8), 0.45)
    found[1, 0, 0, 0] = math.nan
    found[2] = 0.7
    output = settled(Bright(0.5), images, L2, found)
    assert output.unprojected is not None
    assert output.unprojected.isfinite().tolist() == [False, False, True]
    assert torch.equal(output.images[:2], images.images[:2])


def test_a_models_own_errors_are_its_own() -> None:
    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise ValueError("bad shape")

    class Asking:
        def run(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
            return model(images)  # type: ignore[no-any-return]

    with pytest.raises(ValueError, match="bad shape"):
        minimise(Asking(), "asking", Broken(), batch(), Stream(0, "test"))
