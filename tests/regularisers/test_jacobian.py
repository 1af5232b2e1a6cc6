"""The projected Jacobian against the Frobenius norm it estimates."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.regularisers import Jacobian
from reinforced.streams import Stream

K, D = 5, 40


def estimate(weight: Tensor, batch: int, projections: int) -> float:
    """Of ``||J||_F^2`` for a linear model: the mean over the batch, whose images share one Jacobian."""
    network = nn.Linear(D, K, bias=False)
    with torch.no_grad():
        network.weight.copy_(weight)
    images = torch.zeros(batch, D, requires_grad=True)
    regulariser = Jacobian(strength=2, projections=projections)
    labels = torch.zeros(batch, dtype=torch.int64)
    return regulariser.penalty(network, images, labels, network(images), Stream(0, "r")).item()


@pytest.mark.parametrize("projections", [1, 4])
def test_the_mean_over_many_draws_is_the_frobenius_norm(projections: int) -> None:
    """20,000 draws; one draw's standard deviation is under half its mean, so 3 errors are 1 %."""
    scales = torch.tensor([2, 1, 1, 0.5, 0.1])[:, None]
    weight = scales * torch.randn(K, D, generator=torch.Generator().manual_seed(0))
    truth = weight.square().sum().item()
    assert estimate(weight, 20_000 // projections, projections) == pytest.approx(truth, rel=0.02)


def test_every_draw_is_exact_where_all_singular_values_are_alike() -> None:
    weight = 3 * torch.eye(K, D)
    assert estimate(weight, 1, 1) == pytest.approx(9 * K, rel=1e-5)


def test_more_projections_scatter_less() -> None:
    weight = torch.randn(K, D, generator=torch.Generator().manual_seed(0))
    network = nn.Linear(D, K, bias=False)
    with torch.no_grad():
        network.weight.copy_(weight)
    spread = []
    for projections in (1, 16):
        stream = Stream(0, "r")
        values = []
        for _ in range(200):
            image = torch.zeros(1, D, requires_grad=True)
            regulariser = Jacobian(strength=2, projections=projections)
            logits = network(image)
            values.append(regulariser.penalty(network, image, torch.zeros(1), logits, stream).detach())
        spread.append(torch.stack(values).std())
    assert spread[0] / spread[1] == pytest.approx(4, rel=0.25)
