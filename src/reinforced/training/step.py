"""One update: views, rollout, loss, gradient, check, step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from reinforced.streams import Stream
from reinforced.training.recipe import Phase


@dataclass(frozen=True)
class Update:
    """What an update did, all on the device: nothing here waits for it.

    Attributes:
        sums: metric name to its sum over the batch's images.
        finite: scalar bool; where false the update was not made.
        passes: network passes an image (forward 1, input gradient 1, full backward 2).
    """

    sums: dict[str, Tensor]
    finite: Tensor
    passes: float


def update(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    phase: Phase,
    *,
    optimizer: torch.optim.Optimizer,
    accelerator: Accelerator,
    exploration: Stream,
    adversary: Stream,
    gradient_clip: float | None,
    precision: str,
) -> Update:
    """Train the model once on images (B, C, H, W) in [0,1] and labels (B,).

    The crafting goes through the unwrapped network, the trained forward through ``model`` as accelerate
    prepared it, both in ``precision`` (float32 or bf16). A non-finite loss or gradient leaves the weights as
    they are.
    """
    network = accelerator.unwrap_model(model)
    autocast = torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16")
    with autocast:
        views = phase.adversary.views(network, images, labels, phase.objective, adversary)
    total = torch.zeros((), device=images.device)
    sums: dict[str, Tensor] = {}
    for position, view in enumerate(views.trained):
        with autocast:
            logits = model(view.images)
        rollout = phase.objective.rollout(logits.detach(), labels, exploration)
        terms = phase.objective.loss(logits, labels, rollout)
        total = total + view.weight * terms.loss
        if position == 0:
            sums = {name: value * len(labels) for name, value in terms.metrics.items()}
            sums["accuracy"] = (logits.detach().argmax(1) == labels).sum()
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(total)
    gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if gradient_clip is not None:
        torch.nn.utils.clip_grads_with_norm_(network.parameters(), gradient_clip, norm)
    finite = torch.isfinite(total.detach() + norm)
    _step(optimizer, finite)
    batch = len(labels)
    sums |= {"loss": total.detach() * batch, "gradient_norm": norm * batch}
    return Update(sums, finite, views.passes + 3 * len(views.trained))


def _step(optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
    """Step only if finite: torch's fused optimisers skip on the device, the others need to be told here."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    if inner.defaults.get("fused"):
        inner.grad_scale = None  # type: ignore[attr-defined]  # the pair of attributes GradScaler sets
        inner.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif bool(finite):
        optimizer.step()
