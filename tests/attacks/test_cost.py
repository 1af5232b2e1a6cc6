"""What an attack is said to cost, which orders attacks and prices sweeps, against what it takes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.studies.sweep.cost import image_passes


@pytest.mark.parametrize(
    "name",
    [
        "pgd(steps=10)",
        "pgd(steps=10,restarts=2)",
        "pgd(steps=10,targeted=true)",
        "apgd(steps=20)",
        "apgd(steps=20,targeted=true)",
        "fab(steps=10)",
        "fab(steps=10,targeted=true)",
    ],
)
def test_the_estimate_is_about_what_a_standing_image_takes(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).eval()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = model(images).argmax(1)
    attack = parse_attack(name)
    found = run_attack(attack, model, images, labels, ThreatModel("linf", 1e-4), seed=0)
    assert found.robust.all()
    measured = (found.forwards + found.gradients) / 4
    assert 0.6 < image_passes(attack) / measured < 1.6
