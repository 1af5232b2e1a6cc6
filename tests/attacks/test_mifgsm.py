"""MI-FGSM against its definition written out, and its input diversity."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import Batch, run_attack
from reinforced.attacks.mifgsm import MIFGSM, resized_and_padded
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.streams import Stream

IMAGES = 0.5 + 0.2 * (torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(2)) - 0.5)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 4)
        ).eval()


def batch() -> Batch:
    return Batch(IMAGES, network()(IMAGES).argmax(dim=1))


def by_definition(model: nn.Module, norm: Norm, epsilon: float, steps: int) -> Tensor:
    """Dong et al. 2018, algorithm 1 (and eq. 9 in L2), an image at a time, momentum 1."""
    done = []
    for image, label in zip(IMAGES, batch().labels, strict=True):
        x, g = image.clone(), torch.zeros_like(image)
        for _ in range(steps):
            x.requires_grad_()
            loss = nn.functional.cross_entropy(model(x[None]), label[None])
            (gradient,) = torch.autograd.grad(loss, x)
            g = g + gradient / gradient.abs().sum()
            step = g.sign() if norm == "linf" else g / g.norm()
            x = ThreatModel(norm, epsilon).project((x.detach() + epsilon / steps * step)[None], image[None])[
                0
            ]
        done.append(x)
    return torch.stack(done)


@pytest.mark.parametrize(("norm", "epsilon"), [("linf", 0.05), ("l2", 0.5)])
def test_equals_the_definition(norm: Norm, epsilon: float) -> None:
    model = network()
    output = MIFGSM().candidates(model, batch(), ThreatModel(norm, epsilon), Stream(0, "test"))
    assert torch.allclose(output.images, by_definition(model, norm, epsilon, 10), atol=1e-6)
    assert output.trace is not None
    assert output.trace.shape == (10, 6)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
def test_reaches_the_optimum_of_a_linear_model(norm: Norm, dual: int) -> None:
    head = nn.Linear(192, 2)
    model = nn.Sequential(nn.Flatten(), head)
    labels = model(IMAGES).argmax(dim=1)
    found = MIFGSM().candidates(model, Batch(IMAGES, labels), ThreatModel(norm, 0.05), Stream(0, "")).images
    sign = 2 * labels - 1
    drop = sign * (model(IMAGES) - model(found)).diff(dim=1).squeeze(1)
    optimum = 0.05 * (head.weight[1] - head.weight[0]).norm(p=dual)
    assert torch.allclose(drop, optimum.expand(6), rtol=1e-3)


def test_the_last_iterate_is_kept_at_the_full_distance_and_cost() -> None:
    threat = ThreatModel("linf", 0.3)
    result = run_attack(MIFGSM(), network(), IMAGES, batch().labels, threat, seed=0)
    assert not result.robust.any()
    assert (result.distances > 0.29).all()
    assert (result.forwards, result.gradients) == (60, 60)


def test_resizing_and_padding() -> None:
    x = torch.rand(2, 3, 30, 20) + 0.1
    for size, place in ((0.0, (0.0, 0.0)), (0.99, (0.5, 0.99)), (0.5, (0.99, 0.0))):
        seen = resized_and_padded(x, 0.9, size, place)
        assert seen.shape == x.shape
        kept = (seen[0, 0] > 0).nonzero()
        height, width = (kept.amax(dim=0) - kept.amin(dim=0) + 1).tolist()
        assert height == 27 + int(size * 3)
        assert width == 18 + int(size * 2)
        assert kept.amin(dim=0).tolist() == [int(place[0] * (31 - height)), int(place[1] * (21 - width))]
    assert torch.equal(resized_and_padded(x[:, :, :1, :1], 0.9, 0.5, (0.5, 0.5)), x[:, :, :1, :1])


@pytest.mark.parametrize("norm", NORMS)
def test_diversity_changes_the_path_and_follows_the_seed(norm: Norm) -> None:
    model, threat = network(), ThreatModel(norm, 0.1)

    def found(seed: int, diversity: float = 1.0, rows: slice = slice(None)) -> Tensor:
        whole = batch()
        part = Batch(whole.images[rows], whole.labels[rows])
        return MIFGSM(diversity=diversity).candidates(model, part, threat, Stream(seed, "test")).images

    assert torch.equal(found(0), found(0))
    assert not torch.equal(found(0), found(1))
    assert not torch.equal(found(0), found(0, diversity=0))
    assert torch.equal(found(0, diversity=0), found(1, diversity=0))
    # What an image sees does not hang on how many others there are.
    assert torch.allclose(found(0)[:2], found(0, rows=slice(2)), atol=1e-6)
