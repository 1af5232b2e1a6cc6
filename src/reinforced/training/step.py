"""One training step: views, rollouts, loss, gradient, check, update; repeated where a method says so."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from reinforced.objectives import LossTerms, Objective, Rollout
from reinforced.regularisers import twice_differentiable
from reinforced.streams import Stream
from reinforced.training.adversaries import Trainee, View
from reinforced.training.recipe import Phase


@dataclass(frozen=True)
class Update:
    """What a step did, all on the device: nothing here waits for it.

    Attributes:
        sums: metric name to its sum over the batch's images, a mean over the step's updates.
        finite: scalar bool; where false, an update was not made.
    """

    sums: dict[str, Tensor]
    finite: Tensor


@dataclass
class Acting:
    """The objective's loss on views of one batch, each acted on once and remembered."""

    objective: Objective
    labels: Tensor
    exploration: Stream
    rollouts: dict[int, Rollout | None] = field(default_factory=dict)

    def __call__(self, position: int, logits: Tensor) -> LossTerms:
        """The loss on the view of this position; see :data:`reinforced.training.adversaries.base.Terms`."""
        if position not in self.rollouts:
            self.rollouts[position] = self.objective.rollout(logits.detach(), self.labels, self.exploration)
        return self.objective.loss(logits, self.labels, self.rollouts[position])


@dataclass(frozen=True)
class Stepper:
    """What a phase's steps have in common.

    Attributes:
        trainee: the network.
        phase: adversary and regularisers; the objective is given anew for each step.
        optimizer: as accelerate prepared it.
        accelerator: makes the backward pass.
        streams: ``exploration``, ``adversary`` and ``regulariser``.
        memory: what adversaries keep from step to step.
        gradient_clip: longest gradient norm, or ``None``.
    """

    trainee: Trainee
    phase: Phase
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    streams: Mapping[str, Stream]
    memory: dict[str, Tensor]
    gradient_clip: float | None

    def step(self, images: Tensor, labels: Tensor, objective: Objective) -> Update:
        """Train once on images (B, C, H, W) in [0,1] and labels (B,).

        A non-finite loss or gradient leaves the weights as they are.
        """
        with twice_differentiable() if self._reads_gradients else nullcontext():
            return self._step(images, labels, objective)

    def _step(self, images: Tensor, labels: Tensor, objective: Objective) -> Update:
        adversary = self.phase.adversary
        sums: dict[str, Tensor] = {}
        finite = torch.ones((), dtype=torch.bool, device=images.device)
        for _ in range(adversary.replays):
            stream = self.streams["adversary"]
            views = adversary.views(self.trainee, images, labels, objective, stream, self.memory)
            acting = Acting(objective, labels, self.streams["exploration"])
            for _ in range(objective.updates):
                done = self._update(images, views, labels, acting)
                finite = finite & done.finite
                sums = {name: value + sums.get(name, 0) for name, value in done.sums.items()}
                adversary.learn(views, self.memory)
                views = tuple(View(view.images, view.name) for view in views)
        updates = adversary.replays * objective.updates
        return Update({name: value / updates for name, value in sums.items()}, finite)

    def _update(self, clean: Tensor, views: tuple[View, ...], labels: Tensor, acting: Acting) -> Update:
        network, adversary = self.trainee.network, self.phase.adversary

        def ascend() -> Tensor:
            with self.trainee.crafting("train") as forward:
                logits = tuple(forward(view.images) for view in views)
            return adversary.loss(logits, labels, acting).loss

        with adversary.around(self.trainee, ascend):
            views = self._differentiable(views)
            logits = tuple(
                self.trainee.forward(view.images) if view.logits is None else view.logits for view in views
            )
            primary = views[0].images
            terms = adversary.loss(logits, labels, acting)
            total = terms.loss
            penalties: dict[str, Tensor] = {}
            for regulariser in self.phase.regularisers:
                shown = clean if regulariser.needs_clean else primary
                with self.trainee.autocast(primary.device):
                    penalty = regulariser.penalty(
                        network, shown, labels, logits[0], self.streams["regulariser"]
                    )
                penalties[regulariser.kind] = penalty.detach()
                total = total + penalty
            self.optimizer.zero_grad(set_to_none=True)
            self.accelerator.backward(total)
        gradients = [weight.grad for weight in network.parameters() if weight.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.gradient_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(network.parameters(), self.gradient_clip, norm)
        finite = torch.isfinite(total.detach() + norm)
        _step_if(self.optimizer, finite)
        for regulariser in self.phase.regularisers:
            regulariser.after_update(network)
        batch = len(labels)
        means = {**terms.metrics, **penalties, "loss": total.detach(), "gradient_norm": norm}
        sums = {name: value * batch for name, value in means.items()}
        for view, scores in zip(views, logits, strict=True):
            name = "accuracy" if view.name == "clean" else "crafted_accuracy"
            sums[name] = (scores.detach().argmax(1) == labels).sum()
        return Update(sums, finite)

    def _differentiable(self, views: tuple[View, ...]) -> tuple[View, ...]:
        """The views, the first one's images a leaf where a regulariser reads their gradient."""
        primary, *others = views
        # A leaf already is the adversary's, which may read the gradient left on it.
        if not self._reads_gradients or primary.images.requires_grad:
            return views
        return (View(primary.images.detach().requires_grad_(), primary.name), *others)

    @property
    def _reads_gradients(self) -> bool:
        return any(regulariser.needs_input_gradient for regulariser in self.phase.regularisers)


def trainee_of(model: nn.Module, accelerator: Accelerator, precision: str) -> Trainee:
    """The network as adversaries and steps use it."""
    return Trainee(model, accelerator.unwrap_model(model), precision)


def _step_if(optimizer: torch.optim.Optimizer, finite: Tensor) -> None:
    """Step only if finite: torch's fused optimisers skip on the device, the others need to be told here."""
    inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
    if inner.defaults.get("fused"):
        inner.grad_scale = None  # type: ignore[attr-defined]  # the pair of attributes GradScaler sets
        inner.found_inf = (~finite).float()  # type: ignore[attr-defined]
        optimizer.step()
    elif bool(finite):
        optimizer.step()
