"""What every regulariser owes: a new one gets all of these checks with one row of ``REGULARISERS``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
import torch
from torch import Tensor, nn

from reinforced.component import Component
from reinforced.regularisers import (
    AnyRegulariser,
    GradientAlignment,
    InputGradient,
    Jacobian,
    LabelSmoothing,
    LogitNorm,
    Regulariser,
    SpectralNorm,
    SpectralPenalty,
    twice_differentiable,
)
from reinforced.streams import Stream


@dataclass(frozen=True)
class Row:
    """A regulariser and what its page promises: passes, the gradient it needs, whether it only projects."""

    regulariser: Regulariser
    passes: float
    needs_input_gradient: bool
    projects: bool = False


REGULARISERS = {
    "input_gradient": Row(InputGradient(), 3, True),
    "input_gradient-l1": Row(InputGradient(norm="l1", strength=8 / 255), 3, True),
    "jacobian": Row(Jacobian(), 3, True),
    "jacobian-projections": Row(Jacobian(projections=3, strength=0.5), 9, True),
    "gradient_alignment": Row(GradientAlignment(), 12, False),
    "gradient_alignment-wide": Row(GradientAlignment(epsilon=0.5, strength=2), 12, False),
    "spectral_penalty": Row(SpectralPenalty(), 0, False),
    "spectral_norm": Row(SpectralNorm(), 0, False, projects=True),
    "spectral_norm-tight": Row(SpectralNorm(limit=0.1), 0, False, projects=True),
    "spectral_norm-batch-norm": Row(SpectralNorm(batch_norm=0.1), 0, False, projects=True),
    "logit_norm": Row(LogitNorm(), 0, False),
    "label_smoothing": Row(LabelSmoothing(), 0, False),
}
KINDS: dict[str, type[Component]] = {
    member.model_fields["kind"].default: member for member in get_args(get_args(AnyRegulariser)[0])
}
PAGES = Path(__file__).parents[2] / "docs" / "regularisers"
TWICE = {"input_gradient", "jacobian", "gradient_alignment"}
DRAWS = {"jacobian", "gradient_alignment"}

every_regulariser = pytest.mark.parametrize("row", REGULARISERS.values(), ids=REGULARISERS)
every_penalty = pytest.mark.parametrize(
    "row", [pytest.param(row, id=name) for name, row in REGULARISERS.items() if not row.projects]
)


def model(
    channels: int = 3, *, dropout: float = 0.3, activation: Callable[[], nn.Module] = nn.ReLU
) -> nn.Module:
    """A small network in train mode with batch norm and dropout, the same at each call."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1), nn.BatchNorm2d(6), activation(), nn.Dropout(dropout),
            nn.Conv2d(6, 8, 3, stride=2, padding=1), activation(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
        )  # fmt: skip


def data(channels: int = 3, side: int = 8, size: int = 8) -> tuple[Tensor, Tensor]:
    """Images in [0,1] and their labels."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(size, channels, side, side, generator=generator), torch.arange(size) % 5


def penalty(
    regulariser: Regulariser,
    network: nn.Module,
    images: Tensor,
    labels: Tensor,
    stream: Stream | None = None,
) -> Tensor:
    """The penalty as a training step takes it."""
    torch.manual_seed(9)  # dropout's
    images = images.detach().requires_grad_(regulariser.needs_input_gradient)
    logits = network(images)
    return regulariser.penalty(network, images, labels, logits, stream or Stream(0, "regulariser"))


def gradients(value: Tensor, network: nn.Module) -> list[Tensor]:
    """The gradient for each weight, zeros where the value does not depend on it."""
    return list(
        torch.autograd.grad(value, list(network.parameters()), allow_unused=True, materialize_grads=True)
    )


def test_every_regulariser_has_a_row() -> None:
    assert {row.regulariser.kind for row in REGULARISERS.values()} == set(KINDS)


@every_regulariser
def test_needs_and_cost_are_as_documented(row: Row) -> None:
    assert row.regulariser.passes == row.passes
    assert row.regulariser.needs_input_gradient == row.needs_input_gradient
    assert row.regulariser.differentiates_twice == (row.regulariser.kind in TWICE)


@every_regulariser
@pytest.mark.parametrize("shape", [(1, 8), (3, 8), (3, 32)], ids=str)
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_penalty_is_a_finite_scalar_with_gradient(row: Row, shape: tuple[int, int], mode: str) -> None:
    network = model(shape[0]).train(mode == "train")
    value = penalty(row.regulariser, network, *data(*shape))
    assert value.shape == ()
    assert value.dtype is torch.float32
    assert torch.isfinite(value)
    if row.projects:
        assert value == 0
        return
    assert value > 0
    found = gradients(value, network)
    assert all(torch.isfinite(each).all() for each in found)
    assert found[0].abs().max() > 0


@every_penalty
def test_strength_scales_the_penalty_and_zero_is_exactly_zero(row: Row) -> None:
    network = model()
    reference = penalty(row.regulariser, network, *data())
    settings = row.regulariser.model_dump()  # type: ignore[attr-defined]
    doubled = KINDS[row.regulariser.kind].model_validate(settings | {"strength": 2 * settings["strength"]})
    none = KINDS[row.regulariser.kind].model_validate(settings | {"strength": 0})
    assert torch.equal(penalty(doubled, network, *data()), 2 * reference)  # type: ignore[arg-type]
    nothing = penalty(none, network, *data())  # type: ignore[arg-type]
    assert nothing == 0
    assert all((gradient == 0).all() for gradient in gradients(nothing, network))


@every_regulariser
def test_weights_gradients_buffers_and_mode_are_left_alone(row: Row) -> None:
    network, (images, labels) = model(), data()
    images.requires_grad_(row.needs_input_gradient)
    logits = network(images)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for weight in network.parameters():
        weight.grad = torch.full_like(weight, 7)
    row.regulariser.penalty(network, images, labels, logits, Stream(0, "regulariser"))
    for weight in network.parameters():
        assert weight.grad is not None
        assert (weight.grad == 7).all()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(module.training for module in network.modules())


@every_regulariser
def test_the_images_are_left_alone(row: Row) -> None:
    network, (images, labels) = model(), data()
    images.requires_grad_(row.needs_input_gradient)
    logits = network(images)
    row.regulariser.penalty(network, images, labels, logits, Stream(0, "regulariser"))
    assert torch.equal(images, data()[0])
    assert images.grad is None
    assert images.is_leaf


@every_regulariser
def test_the_global_stream_is_left_alone(row: Row) -> None:
    network, (images, labels) = model(), data()
    logits = network(images.requires_grad_(row.needs_input_gradient))
    before = torch.get_rng_state()
    row.regulariser.penalty(network, images, labels, logits, Stream(0, "regulariser"))
    row.regulariser.after_update(network)
    assert torch.equal(torch.get_rng_state(), before)


@every_regulariser
def test_deterministic_given_a_stream(row: Row) -> None:
    network = model()
    first = penalty(row.regulariser, network, *data())
    again = penalty(row.regulariser, network, *data())
    assert torch.equal(first, again)
    if not row.projects:
        pairs = zip(gradients(first, network), gradients(again, network), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs)
    other = penalty(row.regulariser, network, *data(), Stream(1, "regulariser"))
    assert torch.equal(first, other) == (row.regulariser.kind not in DRAWS)


@every_regulariser
def test_two_processes_have_the_mean_penalty_of_one(row: Row) -> None:
    """Without batch norm and dropout: each process sees its half of the batch and of the draws."""
    network, (images, labels) = model(dropout=0).eval(), data()
    whole = penalty(row.regulariser, network, images, labels)
    halves = [
        penalty(row.regulariser, network, half, some, Stream(0, "regulariser", rank=rank, world=2))
        for rank, (half, some) in enumerate(zip(images.chunk(2), labels.chunk(2), strict=True))
    ]
    assert torch.allclose(torch.stack(halves).mean(), whole, rtol=1e-5)


@every_penalty
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_gradient_for_the_weights_is_that_of_finite_differences(row: Row, mode: str) -> None:
    """In float64 on a smooth network; in train mode through batch norm's own double backward too."""
    network = model(dropout=0, activation=nn.Softplus).double().train(mode == "train")
    images, labels = data()[0].double(), data()[1]
    value = penalty(row.regulariser, network, images, labels)
    assert value.dtype is torch.float64
    found = gradients(value, network)
    generator, step = torch.Generator().manual_seed(3), 1e-6
    for weight, gradient in zip(network.parameters(), found, strict=True):
        along = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.add_(along, alpha=sign * step)
            sides.append(penalty(row.regulariser, network, images, labels).detach())
            with torch.no_grad():
                weight.sub_(along, alpha=sign * step)
        slope = (sides[0] - sides[1]) / (2 * step)
        assert torch.allclose((gradient * along).sum(), slope, rtol=1e-5, atol=1e-8)  # the L1 norm has kinks


@every_penalty
def test_descent_lowers_the_penalty(row: Row) -> None:
    network, (images, labels) = model(dropout=0), data(size=32)
    before = penalty(row.regulariser, network, images, labels)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    stream = Stream(2, "regulariser")
    for _ in range(40):
        optimizer.zero_grad()
        penalty(row.regulariser, network, images, labels, stream).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert penalty(row.regulariser, network, images, labels) < before


@every_regulariser
def test_channels_last_changes_nothing_but_rounding(row: Row) -> None:
    images, labels = data(side=32)
    network = model(dropout=0).to(memory_format=torch.channels_last)
    value = penalty(row.regulariser, network, images.to(memory_format=torch.channels_last), labels)
    assert torch.allclose(value, penalty(row.regulariser, model(dropout=0), images, labels), rtol=1e-4)
    strides = [weight.stride() for weight in network.parameters()]
    row.regulariser.after_update(network)
    assert strides == [weight.stride() for weight in network.parameters()]


@every_regulariser
def test_half_precision_networks_give_a_finite_float32_penalty(row: Row) -> None:
    network = model(dropout=0)
    reference = penalty(row.regulariser, network, *data())
    with torch.autocast("cpu", torch.bfloat16):
        value = penalty(row.regulariser, network, *data())
    assert value.dtype is torch.float32
    assert torch.allclose(value, reference, rtol=0.05, atol=1e-2)
    if not row.projects:
        found = gradients(value, network)
        assert all(torch.isfinite(each).all() for each in found)
        assert all(each.dtype is torch.float32 for each in found)


@every_regulariser
@pytest.mark.parametrize("scale", [0.0, 1e3])
def test_dead_and_certain_networks_stay_finite(row: Row, scale: float) -> None:
    """No logit depends on the image, or the probability of one class is 1 in float32."""
    network = model(dropout=0)
    with torch.no_grad():
        for weight in list(network.parameters())[-2:]:
            weight.mul_(scale)
    value = penalty(row.regulariser, network, *data())
    assert torch.isfinite(value)
    if not row.projects:
        assert all(torch.isfinite(gradient).all() for gradient in gradients(value, network))
    row.regulariser.after_update(network)
    assert all(torch.isfinite(weight).all() for weight in network.parameters())


class Attention(nn.Module):
    """One image, four tokens, torch's fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(48, 48)
        self.out = nn.Linear(48, 5)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.heads(images.reshape(len(images), 1, 4, 48))
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        logits: Tensor = self.out(mixed.mean((1, 2)))
        return logits


@every_penalty
def test_networks_with_attention_can_be_penalised(row: Row) -> None:
    network = Attention()
    with twice_differentiable():
        value = penalty(row.regulariser, network, *data())
    assert all(torch.isfinite(gradient).all() for gradient in gradients(value, network))


@every_regulariser
def test_settings_survive_a_recipe(row: Row) -> None:
    assert isinstance(row.regulariser, Component)
    text = row.regulariser.model_dump(mode="json")
    assert type(row.regulariser).model_validate(text) == row.regulariser


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_documents_every_field(kind: str) -> None:
    page = (PAGES / f"{kind}.md").read_text(encoding="utf-8").splitlines()
    for name, field in KINDS[kind].model_fields.items():
        (row,) = [line for line in page if line.startswith(f"| `{name}` |")]
        assert f"| `{field.default}` |" in row
        extra = field.json_schema_extra
        assert isinstance(extra, dict) or name == "kind"
        assert str((extra or {}).get("source", "")) in row  # type: ignore[union-attr]


def test_the_index_links_every_page() -> None:
    index = (PAGES / "README.md").read_text(encoding="utf-8")
    assert all(f"({kind}.md)" in index for kind in KINDS)
