"""One table over all built-in networks, and what the papers say of theirs."""

from __future__ import annotations

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from reinforced.errors import ReinforcedError
from reinforced.models import build, names
from reinforced.models.layers import EvenSameConv2d

CIFAR = (3, 32, 32)
# (parameters at 3x32x32 and K = 10, least side in pixels, side that the tests use)
TABLE = {
    "alicnn": (2_349_258, 8, 16),
    "cnn6": (3_706_274, 8, 8),
    "cnn6_small": (177_394, 8, 32),
    "keras_cnn": (1_250_858, 10, 10),
    "preact_resnet18": (11_172_170, 1, 8),
    "resnet18_cifar": (11_173_962, 1, 8),
    "tiny": (10_218, 4, 32),
    "wide_resnet28_10": (36_479_194, 1, 4),
    "wide_resnet34_10": (46_160_474, 1, 4),
}
SMALL = [name for name in TABLE if not name.startswith("wide")]


def images(channels: int, side: int, count: int = 2) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_the_table_holds_every_built_in_network() -> None:
    assert names() == sorted(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_parameters(name: str) -> None:
    with torch.device("meta"):
        model = build(name, shape=CIFAR, classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == TABLE[name][0]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", SMALL)
def test_logits_determinism_gradient_and_memory_format(name: str, channels: int) -> None:
    side = TABLE[name][2]
    model = build(name, shape=(channels, side, side), classes=7)
    assert model.training
    model.eval()
    x = images(channels, side).requires_grad_()
    logits = model(x)
    assert logits.shape == (2, 7)
    assert torch.equal(logits, model(x))
    (gradient,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
    assert gradient.abs().amax((1, 2, 3)).min() > 0
    with torch.no_grad():
        strided = model.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(strided, logits.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in TABLE if name not in SMALL])
def test_wide_networks_run(name: str) -> None:
    model = build(name, shape=(3, 4, 4), classes=10).eval()
    with torch.no_grad():
        assert model(images(3, 4)).isfinite().all()


@pytest.mark.parametrize("name", [name for name in TABLE if TABLE[name][1] > 1])
def test_the_least_side_works_and_one_less_is_refused(name: str) -> None:
    least = TABLE[name][1]
    model = build(name, shape=(1, least, least), classes=2).eval()
    assert model(images(1, least)).shape == (2, 2)
    with pytest.raises(
        ReinforcedError, match=f"{name} needs .* {least}x{least} pixels, got {least}x{least - 1}"
    ):
        build(name, shape=(1, least, least - 1), classes=2)


@pytest.mark.parametrize("name", ["tiny", "cnn6_small"])
@pytest.mark.parametrize("shape", [(1, 8, 11), (3, 21, 32)])
def test_odd_sizes(name: str, shape: tuple[int, int, int]) -> None:
    assert build(name, shape=shape, classes=3).eval()(torch.rand(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_first_weights_follow_the_global_seed(name: str) -> None:
    def first(seed: int) -> Tensor:
        torch.manual_seed(seed)
        model = build(name, shape=(1, 10, 10), classes=3)
        return nn.utils.parameters_to_vector(model.parameters())

    assert torch.equal(first(1), first(1))
    assert not torch.equal(first(1), first(2))


def test_cnn6_multiply_adds() -> None:
    with torch.device("meta"):
        model = build("cnn6", shape=CIFAR, classes=10).eval()
        with FlopCounterMode(display=False) as counter:
            model(torch.empty(1, *CIFAR))
    assert counter.get_total_flops() / 2 == pytest.approx(1.14e9, rel=0.005)


def test_cnn6_layers_are_the_papers() -> None:
    with torch.device("meta"):
        model = build("cnn6", shape=CIFAR, classes=10)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [264, 128, 512, 128, 128, 128]
    assert {m.kernel_size for m in convolutions} == {(4, 4)}
    assert [m.p for m in model.modules() if isinstance(m, nn.Dropout)] == [0.2, 0.25, 0.35, 0.5]
    assert [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)] == [
        (2048, 256),
        (256, 10),
    ]


@pytest.mark.parametrize("kernel", [2, 4])
def test_even_convolution_is_torchs_same_padding(kernel: int) -> None:
    layer = EvenSameConv2d(3, 5, kernel)
    x = images(3, 9)
    left = (kernel - 1) // 2
    padded = F.pad(x, (left, kernel - 1 - left) * 2)
    torch.testing.assert_close(layer(x), F.conv2d(padded, layer.weight, layer.bias))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of its own extra copy, once a process
        same = F.conv2d(x, layer.weight, layer.bias, padding="same")
    torch.testing.assert_close(layer(x), same, atol=1e-6, rtol=0)


def test_keras_cnn_starts_as_keras_does() -> None:
    model = build("keras_cnn", shape=CIFAR, classes=10)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            bound = (6 / (9 * (layer.in_channels + layer.out_channels))) ** 0.5
            assert 0.95 * bound < layer.weight.abs().max() <= bound
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is not None
            assert not layer.bias.any()


def test_resnet18_cifar_has_the_names_of_weights_in_circulation() -> None:
    with torch.device("meta"):
        keys = build("resnet18_cifar", shape=CIFAR, classes=10).state_dict().keys()
    circulating = {"conv1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer4.1.bn2.running_var"}
    circulating |= {"layer2.0.shortcut.0.weight", "layer2.0.shortcut.1.bias", "linear.weight"}
    assert {f"network.{key}" for key in circulating} <= keys


def test_tiny_learns_the_digits() -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = torch.tensor(digits.images / 16, dtype=torch.float32).unsqueeze(1)
    y = torch.tensor(digits.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, held_out = order[:1497], order[1497:]
    torch.manual_seed(0)
    model = build("tiny", shape=(1, 8, 8), classes=10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(25):
        for rows in train[torch.randperm(len(train))].chunk(24):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    with torch.no_grad():
        assert (model(x[held_out]).argmax(1) == y[held_out]).float().mean() > 0.97


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cnn7"}, "unknown network 'cnn7'; did you mean 'cnn6'"),
        ({"name": "cnn6", "pretrained": True}, "no pretrained weights for 'cnn6'"),
        ({"name": "tiny", "classes": 1}, "at least 2 classes, got 1"),
        ({"name": "tiny", "shape": (0, 8, 8)}, r"shape must be \(channels, height, width\)"),
    ],
)
def test_refusals(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        build(**{"shape": CIFAR, "classes": 10, **arguments})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
