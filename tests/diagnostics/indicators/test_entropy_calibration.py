"""Entropy in bits and calibration error against values known by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from reinforced.diagnostics.indicators.calibration import calibration, tabulate
from reinforced.diagnostics.indicators.entropy import entropy_table


class Fixed(nn.Module):
    """Says ``probabilities[i]`` of an image whose pixels are all ``i / 10``."""

    def __init__(self, probabilities: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).clamp_min(1e-30).log()

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[(10 * x[:, 0, 0, 0]).round().long()]


def pictures(*numbers: int) -> Tensor:
    return torch.tensor(numbers).view(-1, 1, 1, 1).expand(-1, 1, 2, 2) / 10


def test_entropy_in_bits_by_outcome() -> None:
    model = Fixed([[0.25] * 4, [0.5, 0.5, 0, 0], [1, 0, 0, 0], [0.5, 0.25, 0.125, 0.125]])
    clean, attacked = pictures(2, 3, 1), pictures(0, 0, 3)
    table = entropy_table(model, clean, attacked, torch.tensor([0, 0, 2]))
    expected = torch.tensor([[0, 1.75, 1], [2, 2, 1.75]], dtype=torch.float64)
    torch.testing.assert_close(table.bits, expected, atol=1e-6, rtol=0)
    assert table.right.tolist() == [[True, True, False], [True, True, False]]
    rows = {(row["images"], row["prediction"]): row for row in table.rows()}
    assert list(rows) == [
        ("clean", "right"),
        ("clean", "wrong"),
        ("adversarial", "right"),
        ("adversarial", "wrong"),
    ]
    assert rows["clean", "right"]["mean"] == pytest.approx(0.875, abs=1e-6)
    assert rows["adversarial", "wrong"]["count"] == 1
    assert table.forwards == 6


def test_entropy_of_no_image_is_none() -> None:
    model = Fixed([[0.9, 0.1]])
    table = entropy_table(model, pictures(0), pictures(0), torch.tensor([0]))
    wrong = table.rows()[1]
    assert (wrong["count"], wrong["mean"]) == (0, None)


def test_calibration_by_hand() -> None:
    """Bins (0, .5], (.5, 1]: .2 * |.45 - 0| + .8 * |.8 - .75| of ten images."""
    confidence = torch.tensor([0.4, 0.5] + [0.8] * 8)
    right = torch.tensor([0, 0] + [1] * 6 + [0] * 2)
    found = tabulate(confidence, right, bins=2)
    assert found.error == pytest.approx(0.2 * 0.45 + 0.8 * 0.05)
    assert found.worst == pytest.approx(0.45)
    assert [each.count for each in found.bins] == [2, 8]


def test_calibration_of_a_model() -> None:
    """Confidence 1 falls into the last bin; a model that is right as often as it says is calibrated."""
    model = Fixed([[0.75, 0.25], [1, 0]])
    images = pictures(0, 0, 0, 0, 1)
    found = calibration(model, images, torch.tensor([0, 0, 0, 1, 0]))
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.bins[-1].count == 1
    assert sum(each.count for each in found.bins) == 5
    assert found.bins[0].confidence is None
