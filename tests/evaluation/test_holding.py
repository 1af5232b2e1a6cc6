"""What counts as a witness: recomputed in eval mode, from the same draws, and no luck."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.evaluation.verify import DRAWS, _surely, holding

Data = tuple[Tensor, Tensor]
THREAT = "linf:0.1"


class Coin(nn.Module):
    """Right on class 0 in so many of its draws, whatever the image."""

    def __init__(self, accuracy: float) -> None:
        super().__init__()
        self.accuracy = accuracy

    def forward(self, images: Tensor) -> Tensor:
        wrong = (torch.rand(len(images)) >= self.accuracy).long()
        return torch.eye(2)[wrong]


def test_luck_is_no_witness() -> None:
    # P(X >= 63) is .0060 and P(X >= 62) .0105 for X of 100 throws of a fair coin.
    assert [_surely(draws) for draws in (1, 6, 7, 100)] == [1, 7, 7, 63]
    images = torch.full((2000, 1, 1, 1), 0.5)
    labels = torch.zeros(2000, dtype=torch.int64)

    def share(accuracy: float) -> float:
        return float(holding(Coin(accuracy), images, images, labels, THREAT, DRAWS).float().mean())

    assert share(0.55) < 0.002
    assert share(0.5) < 0.015
    assert share(0.2) > 0.99


def test_the_same_question_gets_the_same_answer() -> None:
    images = torch.full((300, 1, 1, 1), 0.5)
    labels = torch.zeros(300, dtype=torch.int64)
    first = holding(Coin(0.37), images, images, labels, THREAT, DRAWS)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        again = holding(Coin(0.37), images, images, labels, THREAT, DRAWS)
    assert 0 < int(first.sum()) < 300
    assert torch.equal(first, again)


def test_ball_box_and_class_of_a_deterministic_model(model: nn.Module, data: Data) -> None:
    images, labels = data
    with torch.no_grad():
        wrong = model(images).argmax(1) != labels
    assert torch.equal(holding(model, images, images, labels, THREAT), wrong)
    assert not holding(model, images, images + 0.2, (labels + 1) % 5, THREAT).any()
    assert holding(model, images[:0], images[:0], labels[:0], THREAT).shape == (0,)


@pytest.mark.parametrize("part", [1, 2])
def test_it_runs_in_eval_mode_and_leaves_no_trace(part: int, data: Data) -> None:
    images, labels = data
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 5)).eval()
    with torch.no_grad():
        wrong = model(images).argmax(1) != labels
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model[part].train()
    assert torch.equal(holding(model, images, images, labels, THREAT), wrong)
    assert model[part].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
