"""The truncated series: known values, its first rung, its limit, and its gradient where p is tiny."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from reinforced.objectives import CrossEntropy, ExpectedPG, Objective, Reinforce, Truncated
from reinforced.streams import Stream

LABELS = torch.tensor([0, 4, 2, 2])
LOGITS = 2 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
P = LOGITS.softmax(1)[torch.arange(4), LABELS]


def loss(objective: Objective, logits: Tensor = LOGITS, labels: Tensor = LABELS) -> Tensor:
    return objective.loss(logits, labels, None).loss


def gradient(objective: Objective, logits: Tensor = LOGITS, labels: Tensor = LABELS) -> Tensor:
    point = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(objective, point, labels), point)
    return found


def close(one: Tensor, other: Tensor, atol: float = 1e-12) -> bool:
    return torch.allclose(one, other, rtol=0, atol=atol)


@pytest.mark.parametrize(("terms", "value"), [(1, 1 / 2), (2, 5 / 8), (3, 2 / 3), (4, 131 / 192)])
def test_known_values(terms: int, value: float) -> None:
    logits = torch.tensor([[0.5, 0.25, 0.25]], dtype=torch.float64).log()
    assert loss(Truncated(terms=terms), logits, torch.tensor([0])).item() == pytest.approx(value, abs=1e-14)


def test_one_term_is_the_expected_loss_of_a_reward_of_1_or_0() -> None:
    assert close(loss(Truncated(terms=1)), (1 - P).mean())
    assert close(gradient(Truncated(terms=1)), gradient(ExpectedPG()))


@pytest.mark.parametrize("terms", [1, 10, 100, 1000])
def test_the_rest_to_cross_entropy_is_within_the_series_remainder(terms: int) -> None:
    """0 <= CE - L_T <= (1 - p)^(T + 1) / ((T + 1) p), image by image; the gradients are p apart."""
    remainder = ((1 - P) ** (terms + 1) / ((terms + 1) * P)).mean()
    rest = loss(CrossEntropy()) - loss(Truncated(terms=terms))
    assert -1e-12 <= rest <= remainder + 1e-12
    apart = gradient(CrossEntropy()) - gradient(Truncated(terms=terms))
    assert (apart.abs().sum(1) <= 2 * (1 - P) ** terms / len(P) + 1e-12).all()


def test_many_terms_are_cross_entropy() -> None:
    """The worst p here is 0.03, whose remainder after 1000 terms is below 1e-14."""
    logits = LOGITS / 3
    assert logits.softmax(1)[torch.arange(4), LABELS].min() > 0.03
    assert close(loss(Truncated(terms=1000), logits), loss(CrossEntropy(), logits))
    assert close(gradient(Truncated(terms=1000), logits), gradient(CrossEntropy(), logits))


@pytest.mark.parametrize("terms", [1, 2, 4, 50])
def test_gradient_is_cross_entropys_times_the_chance_of_one_success_in_t(terms: int) -> None:
    weight = 1 - (1 - P) ** terms
    assert close(gradient(Truncated(terms=terms)), weight[:, None] * gradient(CrossEntropy()))


@pytest.mark.parametrize("terms", [2, 4])
def test_the_weight_is_how_often_one_of_t_sampled_actions_is_right(terms: int) -> None:
    """What MaxRL estimates by sampling, pass@T, is exact here: within 5 standard errors of 100,000 draws."""
    many = Reinforce(samples=terms * 100_000).rollout(LOGITS, LABELS, Stream(0, "exploration"))
    passed = many.rewards.view(terms, -1, len(LABELS)).amax(0).double().mean(0)
    weight = 1 - (1 - P) ** terms
    error = (weight * (1 - weight) / 100_000).sqrt()
    assert ((passed - weight).abs() <= 5 * error).all()


@pytest.mark.parametrize("terms", [1, 2, 4, 30])
def test_gradients_against_finite_differences(terms: int) -> None:
    point = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda at: loss(Truncated(terms=terms), at), (point,))
    assert torch.autograd.gradgradcheck(lambda at: loss(Truncated(terms=terms), at), (point,))


@pytest.mark.parametrize("terms", [1, 4, 1000])
@pytest.mark.parametrize("margin", [-30.0, 10.0, 30.0, 60.0])
def test_float32_keeps_the_gradient_of_an_extreme_label(terms: int, margin: float) -> None:
    """Against the closed form in float64: (1 - (1 - p)^T) (pi - onehot)."""
    logits, labels = torch.tensor([[0.0, margin, margin - 1]]), torch.tensor([0])
    log_pi = logits.double().log_softmax(1)
    p_wrong = torch.logsumexp(log_pi[:, 1:], 1).exp()
    weight = -torch.expm1(terms * torch.log1p(-log_pi[:, 0].exp())) if margin > 0 else 1 - p_wrong**terms
    pull = torch.cat([-p_wrong[:, None], log_pi[:, 1:].exp()], 1)
    found = gradient(Truncated(terms=terms), logits, labels).double()
    assert torch.allclose(found, weight[:, None] * pull, rtol=2e-4, atol=1e-30 if margin > 0 else 1e-7)


def test_nothing_is_sampled() -> None:
    stream = Stream(0, "exploration")
    before = stream.get_state()
    assert Truncated().rollout(LOGITS, LABELS, stream) is None
    assert torch.equal(stream.get_state(), before)


@pytest.mark.parametrize("terms", [0, -1, 1001, 1.5])
def test_terms_out_of_range_are_refused(terms: float) -> None:
    with pytest.raises(ValidationError):
        Truncated(terms=terms)
