"""Randomised smoothing's certificate, against values computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.certificate import Certificates, certificates, certify
from reinforced.errors import ReinforcedError


def test_a_unanimous_vote_by_hand() -> None:
    # All n: the lower bound is alpha^(1/n). 0.001^(1/100) = 0.93325, whose normal quantile is 1.5004.
    assert certify(100, 100, 0.5, 0.001) == pytest.approx(0.5 * 1.5004, abs=1e-4)
    # 0.001^(1/100000) = 0.99993: Cohen et al. 2019's largest radius, about 3.8 sigma.
    assert certify(100_000, 100_000, 1.0, 0.001) == pytest.approx(3.8115, abs=1e-3)


def test_a_split_vote_by_hand() -> None:
    # 9 of 10 at alpha 0.05: p with P(X >= 9) = 10 p^9 (1-p) + p^10 = 0.05 is 0.60584; its quantile 0.26849.
    low = 0.60584
    assert 10 * low**9 * (1 - low) + low**10 == pytest.approx(0.05, abs=1e-4)
    assert certify(9, 10, 1.0, 0.05) == pytest.approx(0.26849, abs=1e-4)


@pytest.mark.parametrize("count", [0, 50, 60])
def test_no_sure_majority_abstains(count: int) -> None:
    assert certify(count, 100, 0.25) == 0.0  # 60 of 100: the bound is .44


def test_the_radius_grows_with_noise_and_votes() -> None:
    radii = [certify(count, 1000, 0.25) for count in range(600, 1001, 50)]
    assert radii == sorted(radii)
    assert certify(900, 1000, 0.5) == pytest.approx(2 * certify(900, 1000, 0.25))
    assert certify(900, 1000, 0.25, 0.01) > certify(900, 1000, 0.25, 0.001)


@pytest.mark.parametrize(
    ("count", "sigma", "alpha"), [(11, 1.0, 0.05), (-1, 1.0, 0.05), (9, 0.0, 0.05), (9, 1.0, 0.5)]
)
def test_nonsense_is_refused(count: int, sigma: float, alpha: float) -> None:
    with pytest.raises(ReinforcedError):
        certify(count, 10, sigma, alpha)


class Side(nn.Module):
    """Class 1 where the first pixel is above a half."""

    def forward(self, x: Tensor) -> Tensor:
        lead = 100 * (x[:, 0, 0, 0] - 0.5)
        return torch.stack([-lead, lead], 1)


def test_of_a_half_space_no_radius_is_beyond_the_border() -> None:
    # The smoothed half-space is the half-space: the true radius is the distance to the border.
    distances = torch.tensor([0.0, 0.1, 0.25, 0.4])
    images = torch.full((4, 1, 2, 2), 0.5)
    images[:, 0, 0, 0] += distances
    found = certificates(Side(), images, 0.25, seed=0, samples=500)
    assert found.classes[1:].tolist() == [1, 1, 1]
    assert (found.radii <= distances).all()
    assert found.radii[2] == pytest.approx(0.25, abs=0.08)
    assert torch.equal(found.radii, certificates(Side(), images, 0.25, seed=0, samples=500).radii)


def test_the_noise_is_each_images_own(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Watched(Side):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().forward(x)

    images = torch.full((5, 1, 2, 3), 0.5)
    images[:, 0, 0, 0] += torch.linspace(0.05, 0.3, 5)
    found = certificates(Watched(), images, 0.25, seed=3, samples=200)
    assert max(sizes) == 64
    fewer = certificates(Side(), images[:2], 0.25, seed=3, samples=200)
    assert torch.equal(fewer.radii, found.radii[:2])
    monkeypatch.setattr("reinforced.diagnostics.certificate.chunk_size", lambda *_: 7)
    again = certificates(Side(), images, 0.25, seed=3, samples=200)
    assert torch.equal(again.radii, found.radii)
    assert torch.equal(again.classes, found.classes)
    # The same pixels in another row meet other noise.
    alike = certificates(Side(), images[:1].expand(8, -1, -1, -1), 0.25, seed=3, samples=200)
    assert len(set(alike.radii.tolist())) > 1


def test_a_witness_inside_defeats_a_certificate() -> None:
    found = Certificates(torch.tensor([0, 1, 1, 0]), torch.tensor([0.6, 0.6, 0.3, math.inf]))
    labels = torch.tensor([0, 1, 1, 1])
    assert found.hold(labels, 0.5).tolist() == [True, True, False, False]
    assert found.defeated(labels, 0.5, (False, False, True, True)) == 0
    assert found.defeated(labels, 0.5, (True, False, True, True)) == 1
    assert not Certificates(labels, torch.zeros(4)).hold(labels, 0.0).any()
