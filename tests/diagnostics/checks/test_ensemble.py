"""The full ensemble."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reinforced.diagnostics.checks.ensemble import Ensemble
from tests.diagnostics.checks.defences import case_of, digits


class Few(nn.Module):
    """Classes by which part of the image is brightest."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([part.mean((1, 2, 3)) for part in x.chunk(self.classes, dim=3)], dim=1)


def test_two_classes_are_attacked_too() -> None:
    """AutoAttack needs four; what stands in for it must be run, and break what can be broken."""
    model = Few(2).eval()
    images = digits("test")[0][:40]
    labels = model(images).argmax(1)
    case = case_of(model, "fgsm(step=0.001)@linf:0.15", data=(images, labels))
    finding = Ensemble(attacks=("autoattack",), few=("apgd(loss=ce,steps=10)",)).measure(case)
    assert finding.grade == "witness"
    assert len(finding.witnesses) > 10
