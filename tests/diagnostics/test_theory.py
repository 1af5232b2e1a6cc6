"""docs/theory.md, checked: the reward's input gradient is p_y times cross-entropy's."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from reinforced.data import load, to_float
from reinforced.models import build


def trained() -> tuple[torch.nn.Module, Tensor, Tensor]:
    """``tiny`` after 60 updates on digits, in float64, with 64 of its images."""
    torch.manual_seed(0)
    split = load("digits").train
    images, labels = split.batch(torch.arange(len(split)))
    pixels = to_float(images)
    model = build("tiny", shape=split.shape, classes=10, normalize="digits").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        rows = torch.arange(step * 64, step * 64 + 64) % len(labels)
        optimizer.zero_grad()
        F.cross_entropy(model(pixels[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return model.double().eval(), pixels[:64].double(), labels[:64]


def test_the_rewards_input_gradient_is_p_y_times_that_of_cross_entropy() -> None:
    model, images, labels = trained()
    leaf = images.clone().requires_grad_()
    log_pi = torch.log_softmax(model(leaf), dim=1)
    right = log_pi.gather(1, labels[:, None])[:, 0]
    (of_ce,) = torch.autograd.grad(-right.sum(), leaf, retain_graph=True)
    (of_reward,) = torch.autograd.grad((1 - right.exp()).sum(), leaf)
    expected = right.detach().exp().view(-1, 1, 1, 1) * of_ce
    error = (of_reward - expected).flatten(1).norm(dim=1) / expected.flatten(1).norm(dim=1)
    assert error.max() < 1e-9
    assert right.exp().min() < 0.9  # or the factor would hardly be seen
