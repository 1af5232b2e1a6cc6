"""What is said of a model before anything is run on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.errors import ReinforcedError
from reinforced.evaluation.preflight import preflight

Data = tuple[Tensor, Tensor]


class Jittered(nn.Module):
    """Adds fresh noise of so many of the largest logit to the logits."""

    def __init__(self, model: nn.Module, size: float) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits + self.size * logits.abs().max().clamp(min=1) * (2 * torch.rand_like(logits) - 1)


class Torn(nn.Module):
    """Two classes whose lead is far below rounding, and changes sides from pass to pass."""

    def __init__(self) -> None:
        super().__init__()
        self.sign = 1e-7

    def forward(self, images: Tensor) -> Tensor:
        self.sign = -self.sign
        return images.mean((1, 2, 3))[:, None] + torch.tensor([0.0, self.sign])


class Drawn(nn.Module):
    """Draws one of two read-outs a batch, not an image."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits if torch.rand(()) < 0.5 else logits.roll(1, 1)


class Adaptive(nn.Module):
    """Normalises by the batch before its read-out."""

    def __init__(self, *, flat: bool) -> None:
        super().__init__()
        self.flat = flat

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1) if self.flat else images
        lead = F.batch_norm(x, None, None, training=True).flatten(1).mean(1) - 1e-3  # alone, every mean is 0
        return torch.stack([lead, -lead], 1)


def names(model: nn.Module, data: Data) -> list[str]:
    return [note.name for note in preflight(model.eval(), *data, []).notes]


@pytest.mark.parametrize(("size", "randomised"), [(0.0, False), (4e-6, False), (1e-3, True), (0.3, True)])
def test_rounding_is_no_randomness(size: float, randomised: bool, model: nn.Module, data: Data) -> None:
    images, labels = data
    with torch.random.fork_rng():
        assert ("randomised" in names(Jittered(model, size), (images[:32], labels[:32]))) is randomised


@pytest.mark.parametrize("seed", range(8))
def test_a_network_drawn_a_batch_is_found(seed: int, model: nn.Module, data: Data) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        assert "randomised" in names(Drawn(model), data)


def test_another_class_is_randomness_however_close(data: Data) -> None:
    images, labels = data
    assert "randomised" in names(Torn(), (images, labels % 2))


@pytest.mark.parametrize(
    ("module", "said"),
    [(nn.Dropout(), r"2 \(Dropout\)"), (nn.BatchNorm1d(64, track_running_stats=False), r"2 \(BatchNorm1d\)")],
)
def test_a_part_in_train_mode_is_named(module: nn.Module, said: str, data: Data) -> None:
    images, labels = data
    with torch.random.fork_rng():
        model = nn.Sequential(nn.Flatten(), nn.Identity(), module, nn.Linear(64, 5)).eval()
    module.train()
    with pytest.raises(
        ReinforcedError, match=rf"^{said} is in train mode.*model\.eval\(\).*F\.dropout"
    ) as caught:
        preflight(model, images, labels, [])
    assert "\n" not in str(caught.value)
    assert module.training


def test_a_model_that_looks_at_its_batch_is_noted(data: Data) -> None:
    images, labels = data
    for flat, said in ((False, "get another class alone"), (True, "cannot predict an image alone")):
        notes = preflight(Adaptive(flat=flat).eval(), images, labels % 2, []).notes
        (note,) = [note for note in notes if note.name == "batch-dependent"]
        assert said in note.message
        assert "\n" not in note.message


def test_nothing_is_noted_of_an_ordinary_model(model: nn.Module, data: Data) -> None:
    assert names(model, data) == []
