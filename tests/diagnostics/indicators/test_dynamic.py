"""Indicators along the path, against hand-made paths and the released code's definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import random_start
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.indicators.base import Indicator
from reinforced.diagnostics.indicators.dynamic import along_path
from reinforced.diagnostics.indicators.path import Iterate
from reinforced.diagnostics.indicators.path_cosine import PathCosine
from reinforced.diagnostics.indicators.path_signs import PathSigns
from reinforced.diagnostics.indicators.path_variance import BatchVariance, PathVariance
from reinforced.streams import Stream

L2 = ThreatModel("l2", 0.2)


def found_by_name(indicators: tuple[Indicator, ...]) -> dict[str, Indicator]:
    return {each.name: each for each in indicators}


def by_hand(a: Tensor, images: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Gradients (T, N, D) and losses (T + 1, N) of the quadratic along the path, in float64."""
    x0 = images.double().flatten(1)
    x = random_start(images, L2, Stream(0, "indicators/path")).double().flatten(1)
    gradients, losses = [], []
    for _ in range(steps):
        gradients.append(a.double() * x)
        losses.append((a * x * x).sum(dim=1) / 2)
        moved = x + 2.5 * 0.2 / steps * nn.functional.normalize(gradients[-1], dim=1)
        delta = moved - x0
        x = x0 + delta * (0.2 / delta.norm(dim=1, keepdim=True)).clamp_max(1)
    losses.append((a * x * x).sum(dim=1) / 2)
    return torch.stack(gradients), torch.stack(losses)


def test_the_path_of_a_quadratic(quadratic: nn.Module, a: Tensor, images: Tensor, ones: Tensor) -> None:
    """Every indicator as the released code defines it, an image at a time."""
    g, losses = by_hand(a, images, 8)
    units = nn.functional.normalize(g, dim=2)
    path = along_path(quadratic, images, ones, L2, steps=8, loss="margin", batch=3)
    found = found_by_name(path.indicators)

    def close(name: str, expected: Tensor) -> None:
        torch.testing.assert_close(found[name].values, expected, rtol=1e-4, atol=1e-5)

    close("path_norm", g.norm(dim=2))
    close("path_cosine", (units[1:] * units[:-1]).sum(dim=2))
    close("path_signs", torch.ones(7, 7, dtype=torch.float64))
    close("path_progress", losses[1:] - losses[0])
    pairs = torch.triu_indices(8, 8, 1)
    cosines = torch.einsum("tnd,snd->nts", units, units)[:, pairs[0], pairs[1]]
    close("path_variance", 1 - cosines.mean(dim=1))
    mean = nn.functional.normalize(units.mean(dim=1), dim=1)
    close("batch_variance", 1 - torch.einsum("tnd,td->tn", units, mean).mean(dim=1))
    of_mean = 1 - (mean @ mean.T)[pairs[0], pairs[1]].mean()
    assert found["batch_variance"].figures["of_mean_direction"] == pytest.approx(float(of_mean), abs=1e-5)
    assert found["path_progress"].figures["rising_steps"] == 1
    assert (found["path_norm"].forwards, found["path_norm"].gradients) == (7 * 9, 7 * 8)
    assert (L2.excess(path.images, images) == 0).all()


def test_batches_do_not_matter(linear: nn.Module, images: Tensor, labels: Tensor) -> None:
    threat = ThreatModel("linf", 0.1)
    whole = along_path(linear, images, labels, threat, steps=4)
    parts = along_path(linear, images, labels, threat, steps=4, batch=2)
    torch.testing.assert_close(whole.images, parts.images)
    for one, other in zip(whole.indicators, parts.indicators, strict=True):
        torch.testing.assert_close(one.values, other.values, rtol=1e-4, atol=1e-6)


def test_a_linear_margin_is_a_straight_path(images: Tensor) -> None:
    """PGD reaches the corner: the loss rises by epsilon times the L1 norm, less what the start had."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    zeros, threat = torch.zeros(7, dtype=torch.int64), ThreatModel("linf", 0.1)
    path = along_path(model, images, zeros, threat, steps=10, loss="margin")
    found = found_by_name(path.indicators)
    one = torch.ones((), dtype=torch.float64)
    torch.testing.assert_close(found["path_cosine"].values, one.expand(9, 7))
    torch.testing.assert_close(found["path_signs"].values, one.expand(9, 7))
    for name in ("path_variance", "batch_variance"):
        torch.testing.assert_close(
            found[name].values, torch.zeros_like(found[name].values), atol=1e-6, rtol=0
        )
    head = model[1]
    assert isinstance(head, nn.Linear)
    slope = (head.weight[1] - head.weight[0]).detach()
    corner = images + 0.1 * slope.sign().view(1, 1, 3, 4)
    torch.testing.assert_close(path.images, corner)


def turning(*angles: float) -> list[Iterate]:
    """Two images; the first one's gradient points at these angles, the second one's is zero."""
    vectors = [[[math.cos(angle), math.sin(angle)], [0.0, 0.0]] for angle in angles]
    gradients = [torch.tensor(pair).view(2, 1, 1, 2) for pair in vectors]
    steps = [Iterate(t, torch.zeros(2, 1, 1, 2), torch.zeros(2), g) for t, g in enumerate(gradients)]
    return [*steps, Iterate(len(angles), torch.zeros(2, 1, 1, 2), torch.zeros(2), None)]


def test_zero_gradients_have_no_direction() -> None:
    watching = (PathCosine(), PathSigns(), PathVariance(), BatchVariance())
    for iterate in turning(0.1, 0.1 + math.pi / 3, 0.1 + math.pi):
        for each in watching:
            each.see(iterate)
    cosine, signs, variance, batch = (each.result(0, 0).values for each in watching)
    expected = torch.tensor([0.5, -0.5], dtype=torch.float64)
    torch.testing.assert_close(cosine[:, 0], expected, atol=1e-6, rtol=0)
    assert cosine[:, 1].isnan().all()
    assert signs[0, 0] == 1
    assert signs[:, 1].isnan().all()
    torch.testing.assert_close(variance[0], 1 - torch.tensor((0.5 - 0.5 - 1) / 3).double(), atol=1e-6, rtol=0)
    assert variance[1].isnan()
    torch.testing.assert_close(batch, torch.zeros(3, dtype=torch.float64), atol=1e-6, rtol=0)


def test_one_step_has_no_pairs(linear: nn.Module, images: Tensor, labels: Tensor) -> None:
    path = along_path(linear, images, labels, L2, steps=1)
    found = found_by_name(path.indicators)
    assert found["path_cosine"].summary["mean"] is None
    assert found["path_variance"].summary["count"] == 0
    assert not found["batch_variance"].figures


def test_the_path_is_that_of_the_attack(linear: nn.Module, images: Tensor, labels: Tensor) -> None:
    """Unlike the attack it goes on once an image is broken, so it breaks at least as deeply."""
    from reinforced.attacks.pgd import PGD

    threat = ThreatModel("linf", 0.2)
    path = along_path(linear, images, labels, threat, steps=20)
    result = run_attack(PGD(steps=20), linear, images, labels, threat, seed=0)
    with torch.no_grad():
        standing = linear(path.images).argmax(dim=1) == labels
    assert torch.equal(standing & result.clean_correct, result.robust)
