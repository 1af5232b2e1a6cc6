"""Threat models: reading and writing them, and staying inside them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reinforced.attacks.threat import BUDGETS, NORMS, Norm, ThreatModel
from reinforced.errors import ReinforcedError


@pytest.mark.parametrize(
    ("text", "threat", "tidy"),
    [
        ("linf:8/255", ThreatModel("linf", 8 / 255), "linf:8/255"),
        (" LInf:16/510 ", ThreatModel("linf", 8 / 255), "linf:8/255"),
        ("l2:0.5", ThreatModel("l2", 0.5), "l2:0.5"),
        ("L2:128/255", ThreatModel("l2", 128 / 255), "l2:128/255"),
        ("linf:51/255", ThreatModel("linf", 0.2), "linf:0.2"),
        ("linf:1", ThreatModel("linf", 1.0), "linf:1"),
        ("l2:7", ThreatModel("l2", 7), "l2:7"),
        ("linf:0", ThreatModel("linf", 0.0), "linf:0"),
    ],
)
def test_parse_and_tidy_form(text: str, threat: ThreatModel, tidy: str) -> None:
    assert ThreatModel.parse(text) == threat
    assert str(threat) == tidy


@given(st.sampled_from(NORMS), st.floats(0, 1))
def test_round_trip(norm: Norm, epsilon: float) -> None:
    threat = ThreatModel(norm, epsilon)
    assert ThreatModel.parse(str(threat)) == threat


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linf:8", "did you mean linf:8/255?"),
        ("linf:300", "use at most 1"),
        ("lint:8/255", "did you mean 'linf'?"),
        ("l1:3", "unknown norm 'l1'"),
        ("linf8/255", "no colon"),
        ("linf:8/0", "'8/0' is not a number or a fraction"),
        ("linf:8/", "'8/' is not a number or a fraction"),
        ("l2:", "'' is not a number or a fraction"),
        ("l2:much", "'much' is not a number or a fraction"),
        ("l2:-0.5", "epsilon -0.5 is not a finite number of at least 0"),
        ("l2:nan", "epsilon nan is not a finite number"),
        ("l2:inf", "epsilon inf is not a finite number"),
        ("linf:nan/255", "epsilon nan is not a finite number"),
    ],
)
def test_bad_text_is_one_line_with_a_hint(text: str, message: str) -> None:
    with pytest.raises(ReinforcedError) as caught:
        ThreatModel.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_named_budgets_can_be_written_on_the_command_line() -> None:
    assert {"standard", "zou2026", "digits"} <= set(BUDGETS)
    assert [str(threat) for threat in BUDGETS["standard"]] == ["linf:8/255", "l2:0.5"]
    assert all(ThreatModel.parse(str(t)) == t for threats in BUDGETS.values() for t in threats)


@settings(deadline=None, max_examples=150)
@given(
    norm=st.sampled_from(NORMS),
    epsilon=st.floats(1e-7, 1),
    spread=st.sampled_from([1e-6, 1e-2, 1.0, 100.0]),
    shape=st.sampled_from([(1, 1, 1, 1), (3, 1, 8, 8), (2, 3, 32, 32)]),
    flat=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_projection_is_inside_and_idempotent(
    *,
    norm: Norm,
    epsilon: float,
    spread: float,
    shape: tuple[int, int, int, int],
    flat: bool,
    channels_last: bool,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(shape, generator=generator)
    noise = spread * torch.randn(shape, generator=generator)
    if flat:  # every rounding error the same: the worst case for an L2 norm
        x, noise = x[:1, :1, :1, :1].expand(shape), noise[:1, :1, :1, :1].expand(shape)
    outside = x + noise
    if channels_last:
        x, outside = (t.contiguous(memory_format=torch.channels_last) for t in (x, outside))
    threat = ThreatModel(norm, epsilon)
    inside = threat.project(outside, x)
    assert torch.equal(threat.excess(inside, x), torch.zeros(shape[0]))
    assert inside.min() >= 0
    assert inside.max() <= 1
    assert torch.equal(threat.project(inside, x), inside)
    distance = (inside.double() - x.double()).flatten(1).norm(dim=1, p=math.inf if norm == "linf" else 2)
    slack = 1e-6 if norm == "linf" else 1e-5 * epsilon
    assert (distance <= epsilon + slack).all()


def test_l2_projection_is_inside_on_a_large_flat_image() -> None:
    x = torch.full((1, 3, 224, 224), 0.7)
    threat = ThreatModel("l2", 0.5)
    inside = threat.project(x + 0.1, x)
    exact = (inside.double() - x.double()).norm()
    assert 0.499 < exact <= 0.5 * (1 + 1e-5)
    assert threat.excess(inside, x) == 0


def test_projection_leaves_inner_points_and_direction_alone() -> None:
    x = torch.full((2, 1, 2, 2), 0.5)
    step = torch.tensor([3.0, 0.0, 0.0, 4.0]).view(1, 1, 2, 2)
    threat = ThreatModel("l2", 0.1)
    inner = x + 0.01 * step
    assert torch.equal(threat.project(inner, x), inner)
    assert torch.allclose(threat.project(x + step, x), x + 0.02 * step, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_excess_measures_ball_box_and_nan(norm: Norm) -> None:
    x = torch.tensor([0.5, 0.95, 0.5, 0.5]).view(4, 1, 1, 1)
    x_adv = torch.tensor([0.8, 1.1, math.nan, 0.6]).view(4, 1, 1, 1)
    excess = ThreatModel(norm, 0.2).excess(x_adv, x)
    assert torch.allclose(excess, torch.tensor([0.1, 0.1, math.inf, 0.0]), atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_epsilon_zero_leaves_only_the_image(norm: Norm) -> None:
    x = torch.rand(3, 1, 4, 4)
    assert torch.equal(ThreatModel(norm, 0).project(x + torch.randn_like(x), x), x)
