"""FGSM is one step: on a linear model, the optimum."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.streams import Stream

W = torch.randn(48, generator=torch.Generator().manual_seed(1))
IMAGES = 0.5 + 0.1 * (torch.rand(8, 3, 4, 4, generator=torch.Generator().manual_seed(2)) - 0.5)
LABELS = torch.ones(8, dtype=torch.int64)
OPTIMUM = {"linf": 0.1 * W.norm(p=1), "l2": 0.1 * W.norm()}


class Linear(nn.Module):
    """Two logits, the second ahead by ``w . (x - 0.5) + 9``."""

    def forward(self, images: Tensor) -> Tensor:
        score = (images - 0.5).flatten(1) @ W + 9
        return torch.stack([torch.zeros_like(score), score], dim=1)


def drop(attack: FGSM, norm: Norm) -> Tensor:
    threat = ThreatModel(norm, 0.1)
    found = attack.candidates(Linear(), Batch(IMAGES, LABELS), threat, Stream(0, "test")).images
    assert torch.equal(threat.excess(found, IMAGES), torch.zeros(8))
    before, after = Linear().forward(IMAGES), Linear().forward(found)
    return (before - after)[:, 1]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("loss", ["ce", "margin", "gap"])
def test_reaches_the_optimum_of_a_linear_model(norm: Norm, loss: str) -> None:
    attack = FGSM.model_validate({"loss": loss})
    assert torch.allclose(drop(attack, norm), OPTIMUM[norm], rtol=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_from_a_random_start_it_comes_near(norm: Norm) -> None:
    # L-inf: a pixel that starts at u in (-1, 1) epsilon ends at u + 1.25, clipped: on average 0.859 epsilon.
    found = drop(FGSM(random_start=True), norm) / OPTIMUM[norm]
    low, high = (0.8, 0.93) if norm == "linf" else (0.7, 1.0)
    assert (found > low).all()
    assert (found < high).all()
    assert (drop(FGSM(random_start=True, step=0.2), "linf") >= 0.999 * OPTIMUM["linf"]).all()


def test_two_passes() -> None:
    for attack in (FGSM(), FGSM(random_start=True)):
        result = run_attack(attack, Linear(), IMAGES, LABELS, ThreatModel("linf", 0.1), seed=0)
        assert (result.forwards, result.gradients) == (8, 8)
        trace = attack.candidates(Linear(), Batch(IMAGES, LABELS), ThreatModel("l2", 1), Stream(0, "")).trace
        assert trace is not None
        assert trace.shape == (1, 8)
