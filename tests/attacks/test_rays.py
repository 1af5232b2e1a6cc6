"""RayS against the closed-form optimum, and against the paper's algorithm written out for one image."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, Batch, run_attack
from reinforced.attacks.rays import RayS
from reinforced.attacks.threat import ThreatModel
from reinforced.streams import Stream

LINF = ThreatModel("linf", 0.1)


class Linear(nn.Module):
    """Two classes, ``logits[1] - logits[0] = w . (x - 0.5) + margin``."""

    def __init__(self, margin: float, dim: int = 48) -> None:
        super().__init__()
        self.w = torch.randn(dim, generator=torch.Generator().manual_seed(1))
        self.margin = margin
        self.seen = 0

    def forward(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        score = (images - 0.5).flatten(1) @ self.w + self.margin
        return torch.stack([-score / 2, score / 2], dim=1)


class Curved(nn.Module):
    """A small random network: its boundary bends, so that a bisection's result depends on where it asks."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 4))
            with torch.no_grad():
                for weight in self.net.parameters():
                    weight.mul_(3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images - 0.5)
        return logits


def centred(n: int = 8) -> Tensor:
    return 0.5 + 0.1 * (torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(2)) - 0.5)


def propose(attack: RayS, model: nn.Module, images: Tensor, threat: ThreatModel = LINF) -> AttackOutput:
    batch = Batch(images, model(images).argmax(dim=1))
    return attack.candidates(model, batch, threat, Stream(0, "test"))


def distances(output: AttackOutput) -> Tensor:
    assert output.unprojected is not None
    return output.unprojected


def by_the_paper(model: nn.Module, x: Tensor, queries: int) -> float:
    """Algorithms 1 to 3 for one image ``x`` (1, C, H, W): the radius after ``queries`` queries, in L-inf."""
    y = model(x).argmax()
    dim, root, asked = x.numel(), math.sqrt(x.numel()), 0

    def fooled(d: Tensor, radius: float) -> bool:
        nonlocal asked
        asked += 1
        if asked > queries:
            raise StopIteration
        probe = (x.flatten() + torch.tensor(radius / root) * d).clamp(0, 1).view_as(x)
        return bool(model(probe).argmax() != y)

    d_best, r_best, stage, block = torch.ones(dim), math.inf, 0, 0
    try:
        while True:
            size = math.ceil(dim / 2**stage)
            d = d_best.clone()
            d[block * size : (block + 1) * size] *= -1
            block += 1
            if block * size >= dim:
                stage, block = stage + (size > 1), 0
            if not fooled(d, min(r_best, root)):
                continue
            start, end = 0.0, min(r_best, root)
            while end - start > 1e-3:
                middle = (start + end) / 2
                if fooled(d, middle):
                    end = middle
                else:
                    start = middle
            if end < r_best:
                d_best, r_best = d, end
    except StopIteration:
        return r_best / root


@pytest.mark.parametrize("queries", [500, 2000])
def test_reaches_the_papers_radius_on_a_curved_boundary(queries: int) -> None:
    model, images = Curved(), torch.rand(5, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    found = distances(propose(RayS(queries=queries + 2), model, images))
    for radius, image in zip(found, images, strict=True):
        # Ours keeps what an unfinished bisection has found.
        expected = by_the_paper(model, image[None], queries)
        assert expected * 0.98 < radius < expected * 1.003


def test_distance_on_a_linear_model() -> None:
    model, images = Linear(margin=2), centred()
    output = propose(RayS(queries=2000), model, images)
    best = 2 * model(images)[:, 1] / model.w.norm(p=1)
    assert (model(output.images).argmax(dim=1) == 0).all()
    assert (distances(output) >= best * 0.999).all()
    assert (distances(output) <= best * 1.25).all()


def test_half_of_the_optimum_after_400_queries() -> None:
    model, images = Linear(margin=2), centred()
    best = 2 * model(images)[:, 1] / model.w.norm(p=1)
    assert (distances(propose(RayS(queries=400), model, images)) <= 2 * best).all()


def test_every_image_asks_exactly_its_queries() -> None:
    model, images = Linear(margin=2), centred(3)
    batch = Batch(images, torch.ones(3, dtype=torch.int64))
    RayS(queries=77).candidates(model, batch, LINF, Stream(0, "test"))
    assert model.seen == 3 * 77


def test_images_do_not_depend_on_each_other() -> None:
    model, images = Curved(), torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(5))
    together = propose(RayS(queries=300), model, images)
    for row in range(4):
        alone = propose(RayS(queries=300), model, images[row : row + 1])
        assert torch.allclose(alone.images[0], together.images[row])


def test_it_can_stop_inside_the_ball() -> None:
    model, images = Linear(margin=2), centred()
    labels = torch.ones(8, dtype=torch.int64)
    all_the_way = run_attack(RayS(queries=1500), model, images, labels, LINF, seed=0)
    stopped = run_attack(RayS(queries=1500, stop_inside=True), model, images, labels, LINF, seed=0)
    assert torch.equal(all_the_way.robust, stopped.robust)
    assert not stopped.robust.any()
    assert stopped.forwards < all_the_way.forwards / 2
    assert (stopped.unprojected >= all_the_way.unprojected).all()
    assert (stopped.unprojected <= 0.1 * 1.0011).all()


def test_nothing_found_is_the_clean_image() -> None:
    class Constant(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.tensor([[0.0, 1.0]]).expand(len(images), 2)

    images = centred(2)
    for stop_inside in (False, True):
        output = propose(RayS(queries=40, stop_inside=stop_inside), Constant(), images)
        assert torch.equal(output.images, images)
        assert distances(output).isinf().all()


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 5, 7), (1, 3, 2, 2)])
def test_any_number_of_pixels(shape: tuple[int, ...]) -> None:
    images = torch.full(shape, 0.5)
    model = Linear(margin=0.05, dim=images[0].numel())
    output = propose(RayS(queries=600), model, images)
    best = 2 * model(images)[:, 1].abs() / model.w.norm(p=1)
    assert (distances(output) <= best * 1.3 + 1e-3).all()
