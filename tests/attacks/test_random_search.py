"""Random search: where it draws, what it keeps, and how weak it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.random_search import RandomSearch, on_surface
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.streams import Stream


class Linear(nn.Module):
    """Two logits, the second ahead by ``w . (x - 0.5) + margin``."""

    def __init__(self, pixels: int, margin: float) -> None:
        super().__init__()
        self.w, self.margin = torch.randn(pixels, generator=torch.Generator().manual_seed(1)), margin

    def forward(self, images: Tensor) -> Tensor:
        score = (images - 0.5).flatten(1) @ self.w + self.margin
        return torch.stack([torch.zeros_like(score), score], dim=1)


def grey(n: int, side: int) -> tuple[Tensor, Tensor]:
    return torch.full((n, 1, side, side), 0.5), torch.ones(n, dtype=torch.int64)


def share_of_optimum(norm: Norm, side: int, draws: str = "both") -> float:
    """Mean margin drop over the optimal one, at the default 1,000 samples."""
    model, (images, labels), threat = Linear(side**2, margin=99), grey(3, side), ThreatModel(norm, 0.1)
    attack = RandomSearch.model_validate({"draws": draws})
    found = attack.candidates(model, Batch(images, labels), threat, Stream(0, "test")).images
    drop = (model(images) - model(found))[:, 1].mean()
    return float(drop / (0.1 * model.w.norm(p=1 if norm == "linf" else 2)))


@pytest.mark.parametrize("norm", NORMS)
def test_half_the_optimum_in_16_dimensions_and_little_in_576(norm: Norm) -> None:
    assert share_of_optimum(norm, side=4) > 0.5
    # About 3.2 standard deviations of a sum over d pixels: 3.2 / 0.8 / sqrt(d) in L-inf, 3.2 / sqrt(d) in L2.
    assert 0.08 < share_of_optimum(norm, side=24) < 0.2


def test_corners_are_worth_more_than_the_inside() -> None:
    assert share_of_optimum("linf", 6, "surface") > 1.3 * share_of_optimum("linf", 6, "inside")


def test_corners_and_spheres() -> None:
    images, _ = grey(5, 6)
    corner = on_surface(images, ThreatModel("linf", 0.1), Stream(0, "test")) - images
    assert torch.allclose(corner.abs(), torch.full_like(corner, 0.1))
    assert 0.3 < (corner > 0).float().mean() < 0.7
    sphere = ThreatModel("l2", 0.3)
    distance = sphere.distance(on_surface(images, sphere, Stream(0, "test")), images)
    assert torch.allclose(distance, torch.full((5,), 0.3), rtol=1e-4)
    assert torch.equal(sphere.excess(on_surface(images, sphere, Stream(0, "test")), images), torch.zeros(5))


def test_needs_no_gradient_and_counts_its_queries() -> None:
    class Steps(Linear):
        def forward(self, images: Tensor) -> Tensor:
            assert not torch.is_grad_enabled()
            return super().forward(images).mul(8).round().detach()

    images, labels = grey(4, 4)
    threat = ThreatModel("linf", 0.2)
    safe = run_attack(RandomSearch(samples=20), Steps(16, margin=99), images, labels, threat, seed=0)
    assert safe.robust.all()
    assert (safe.forwards, safe.gradients) == (4 * 20, 0)
    broken = run_attack(RandomSearch(), Steps(16, margin=0.5), images, labels, threat, seed=0)
    assert not broken.robust.any()
    assert broken.forwards < 4 * 200
    assert RandomSearch().access == "scores"


def test_the_same_draws_whatever_the_others_do() -> None:
    # An image that is broken at once must not stop the search for the others, nor be searched on.
    model, (images, labels), threat = Linear(16, margin=1.2), grey(6, 4), ThreatModel("linf", 0.15)
    images[0] += 0.02 * torch.sign(-model.w).view(4, 4)
    attack = RandomSearch(samples=300)
    short = attack.candidates(model, Batch(images, labels), threat, Stream(0, "test")).images
    longer = (
        RandomSearch(samples=900).candidates(model, Batch(images, labels), threat, Stream(0, "test")).images
    )
    done = model(short).argmax(dim=1) == 0
    assert done.any()
    assert torch.equal(short[done], longer[done])
    assert (model(longer)[:, 1] <= model(short)[:, 1]).all()
