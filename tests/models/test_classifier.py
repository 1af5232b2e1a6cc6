"""Normalisation inside the model: the right arithmetic, and never skipped by mistake."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from reinforced.errors import ReinforcedError
from reinforced.models import Classifier, build
from reinforced.models.classifier import STATISTICS, statistics

RGB = (3, 8, 8)


@pytest.mark.parametrize("normalize", STATISTICS)
def test_images_are_normalised_per_channel(normalize: str) -> None:
    mean, std = STATISTICS[normalize]
    model = Classifier(nn.Identity(), *statistics(normalize, len(mean), nn.Identity()))
    x = torch.rand(2, len(mean), 3, 3)
    out = model(x)
    for channel, (centre, spread) in enumerate(zip(mean, std, strict=True)):
        torch.testing.assert_close(out[:, channel], (x[:, channel] - centre) / spread)


def test_none_hands_the_images_on_untouched() -> None:
    model = Classifier(nn.Identity(), *statistics("none", 3, nn.Identity()))
    x = torch.rand(2, *RGB)
    assert model(x) is x


def test_state_dict_keys_do_not_depend_on_the_normalisation() -> None:
    plain = build("tiny", shape=RGB, classes=10)
    normalised = build("tiny", shape=RGB, classes=10, normalize="cifar10")
    keys = list(plain.state_dict())
    assert keys == list(normalised.state_dict())
    assert keys[:2] == ["mean", "std"]
    assert all(key.startswith("network.") for key in keys[2:])


def test_a_loaded_mean_is_used_also_by_a_model_built_without() -> None:
    source = build("tiny", shape=RGB, classes=10, normalize="cifar10")
    target = build("tiny", shape=RGB, classes=10)
    copied = copy.deepcopy(target)
    x = torch.rand(2, *RGB)
    for model in (target, copied):
        model.load_state_dict(source.state_dict())
        assert torch.equal(model(x), source(x))


@pytest.mark.parametrize(
    ("normalize", "channels", "message"),
    [
        ("cifar11", 3, "unknown normalize='cifar11'; did you mean 'cifar10'"),
        ("cifar10", 1, "is for 3-channel images, these have 1; use 'digits' or 'none'"),
        ("digits", 3, "is for 1-channel images, these have 3; use 'cifar10'"),
        ("digits", 2, "these have 2; use 'none'"),
        ("pretrained", 3, "needs a timm:NAME model"),
    ],
)
def test_refusals(normalize: str, channels: int, message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        build("tiny", shape=(channels, 8, 8), classes=10, normalize=normalize)
    assert "\n" not in str(caught.value)
