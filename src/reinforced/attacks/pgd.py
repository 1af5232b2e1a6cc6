"""Projected gradient descent (Madry et al. 2018, arXiv 1706.06083, section 2.1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.losses import Loss, attack_loss, likely_targets, margin, rounding, widened
from reinforced.attacks.threat import Norm, ThreatModel, l2_norm
from reinforced.component import setting
from reinforced.errors import ReinforcedError
from reinforced.streams import Stream


class PGD(AttackSettings):
    """Ascends a loss along its sign (L-inf) or its unit direction (L2), projecting each step.

    Keeps for each image the first iterate misclassified by more than rounding, and drops the image there;
    else, and with ``keep=strongest``, the iterate of the largest margin. Costs at most
    ``restarts * (steps + 1) * eot`` forward passes and ``restarts * steps * eot`` input gradients an image;
    with ``targeted`` that times the targets, and ``eot`` forward passes more to rank them.
    """

    kind: Literal["pgd"] = "pgd"
    steps: int = setting(20, "gradient steps a restart", ge=1, source="Madry et al. 2018")
    step: float | None = setting(
        None, "length of a step; none for 2.5 * epsilon / steps", unit="pixels of [0,1]", gt=0
    )
    loss: Loss = setting("ce", "what is ascended: ce, margin, dlr or gap", source="Madry et al. 2018")
    restarts: int = setting(1, "independent starts, for each target", ge=1)
    random_start: bool = setting(True, "start uniformly in the ball, else at the image itself")
    momentum: float = setting(0.0, "of L1-normalised gradients, as in mifgsm; 0 for off", ge=0)
    targeted: bool = setting(False, "go for one wrong class after the other, the likeliest first")
    target_classes: int = setting(9, "wrong classes to go for, at most", ge=1, source="Croce and Hein 2020")
    eot: int = setting(1, "forward passes averaged an iterate, for randomised models", ge=1)
    keep: Literal["first", "strongest"] = setting(
        "first", "which misclassified iterate is kept; strongest: the largest margin, always so with eot > 1"
    )

    @model_validator(mode="after")
    def _options_fit(self) -> PGD:
        if self.restarts > 1 and not self.random_start:
            raise ValueError(f"{self.restarts} restarts from the same image are one; set random_start=true")
        if not self.targeted and "target_classes" in self.model_fields_set:
            raise ValueError("target_classes has a meaning only with targeted=true")
        return self

    def suited(self, draws: int) -> Self:
        """See the base. The first iterate that a noisy model gets wrong is chance: the strongest is kept."""
        return self.model_copy(update={"keep": "strongest"}) if draws > 1 and self.eot == 1 else self

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; ``trace`` has a row an iterate, start by start.

        The last loss of a dropped image is repeated; the trace ends where none is left.

        Raises:
            ReinforcedError: the logits carry no gradient to the images, or are too few for ``loss``.
        """
        # An iterate that a randomised model got wrong by a majority of a few draws may be chance.
        strongest = self.keep == "strongest" or self.eot > 1
        keeper = Keeper(batch.images, strongest=strongest)
        left = torch.arange(len(batch.labels), device=batch.labels.device)
        trace: list[Tensor] = []
        for going in self._starts(model, batch, threat, stream):
            going.only(left)
            for taken in range(self.steps + 1):
                last = taken == self.steps
                seen = probe(
                    model, going.x, going.labels, self.loss, going.targets, draws=self.eot, ascend=not last
                )
                keeper.offer(going.x, seen.margin, seen.rounding, going.rows)
                trace.append(trace[-1].index_copy(0, going.rows, seen.loss) if trace else seen.loss)
                going.gradient = seen.gradient
                if not strongest:
                    # What is not a number is worked on: the batch may be to blame.
                    going.only((~(seen.margin > seen.rounding)).nonzero().squeeze(1))
                if last or len(going.rows) == 0:
                    break
                self._step(going, threat)
            left = going.rows
            if len(left) == 0:
                break
        return AttackOutput(keeper.images, torch.stack(trace))

    def _starts(
        self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream
    ) -> Iterator[_Going]:
        rows = torch.arange(len(batch.labels), device=batch.labels.device)
        for targets in self._targets(model, batch):
            for _ in range(self.restarts):
                # Drawn for all images: what one gets must not hang on how many others are left.
                x = random_start(batch.images, threat, stream) if self.random_start else batch.images
                yield _Going(rows, x, batch.images, batch.labels, targets)

    def _step(self, going: _Going, threat: ThreatModel) -> None:
        length = 2.5 * threat.epsilon / self.steps if self.step is None else self.step
        assert going.gradient is not None
        upward = going.gradient
        if self.momentum:
            upward = going.velocity = accumulate(going.velocity, upward, self.momentum)
        ahead = torch.add(going.x, direction(upward, threat.norm), alpha=length)
        going.x = threat.project(ahead, going.images)

    def _targets(self, model: nn.Module, batch: Batch) -> list[Tensor | None]:
        if not self.targeted:
            return [None]
        with torch.no_grad():
            logits = torch.stack([widened(model(batch.images)) for _ in range(self.eot)]).mean(dim=0)
        return list(likely_targets(logits, batch.labels, self.target_classes))


@dataclass
class _Going:
    """The images of a batch that are still attacked: their ``rows`` in it, and what belongs to each."""

    rows: Tensor
    x: Tensor
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    velocity: Tensor | None = None
    gradient: Tensor | None = None

    def only(self, chosen: Tensor) -> None:
        """Go on with these of the rows, in ascending order, alone."""
        if len(chosen) == len(self.rows):
            return
        for name, value in vars(self).items():
            if value is not None:
                setattr(self, name, value[chosen])


class Probe(NamedTuple):
    """What the model says of an iterate.

    Attributes:
        gradient: (N, C, H, W), zero where it was not asked for.
        loss, margin: (N,).
        rounding: (N,), how much of the margin another batch size could take.
    """

    gradient: Tensor
    loss: Tensor
    margin: Tensor
    rounding: Tensor


def probe(
    model: nn.Module,
    x: Tensor,
    labels: Tensor,
    loss: Loss,
    targets: Tensor | None = None,
    *,
    draws: int = 1,
    ascend: bool = True,
    view: Callable[[Tensor], Tensor] | None = None,
) -> Probe:
    """Loss, margin and gradient at ``x`` (N, C, H, W), averaged over ``draws`` passes (Athalye et al. 2018).

    Args:
        model: [0,1] images -> logits (N, K), its weights frozen.
        x: the iterate.
        labels: (N,).
        loss: what to differentiate.
        targets: (N,), see :func:`~reinforced.attacks.losses.attack_loss`.
        draws: forward passes; more than one only makes sense where the model is random.
        ascend: whether the gradient is wanted.
        view: applied to ``x`` before the model, and differentiated through.

    Raises:
        ReinforcedError: the logits carry no gradient to the images.
    """
    x = x.detach().requires_grad_(ascend)
    gradients: list[Tensor] = []
    losses, margins, unsure = [], [], []
    for _ in range(draws):
        logits = model(x if view is None else view(x))
        each = attack_loss(loss, logits, labels, targets)
        losses.append(each.detach())
        z = widened(logits.detach())
        margins.append(margin(z, labels))
        unsure.append(rounding(z))
        if ascend:
            if not each.requires_grad:
                raise ReinforcedError(
                    "model: its logits carry no gradient to the images; use a black-box attack"
                )
            # The sum, not the mean: an image's gradient must not depend on how many others there are.
            gradients += torch.autograd.grad(each.sum(), x)
    gradient = _mean(gradients) if ascend else torch.zeros_like(x)
    return Probe(gradient, _mean(losses), _mean(margins), _mean(unsure))


def _mean(draws: list[Tensor]) -> Tensor:
    return draws[0] if len(draws) == 1 else torch.stack(draws).mean(dim=0)


class Keeper:
    """The best iterate so far of each of N images: the first misclassified, else that of the largest margin.

    Args:
        images: (N, C, H, W), kept where nothing is offered.
        strongest: keep the largest margin among the misclassified, too.
    """

    def __init__(self, images: Tensor, *, strongest: bool = False) -> None:
        self.images = images
        self._strongest = strongest
        self._score: Tensor | None = None

    def offer(
        self, x: Tensor, margin: Tensor, rounding: Tensor | float = 0.0, rows: Tensor | None = None
    ) -> None:
        """Consider an iterate.

        Args:
            x: (M, C, H, W).
            margin: (M,), what the model has just said of it.
            rounding: a margin up to this much does not count as misclassified yet.
            rows: (M,) ascending, which of the N images it is of; all if left out, and at the first call.
        """
        # Asked this way round, margins that are not a number count as broken, as for the runner.
        score = torch.where(margin <= (math.inf if self._strongest else rounding), margin, math.inf)
        if self._score is None:
            self.images, self._score = x, score
            return
        part = rows is not None and len(rows) < len(self._score)
        images, best = (self.images[rows], self._score[rows]) if part else (self.images, self._score)
        # Ties go to the later iterate: on a plateau it is at least further along.
        better = (score >= best) & (best < math.inf)
        images = torch.where(better[:, None, None, None], x, images)
        best = torch.where(better, score, best)
        if rows is not None and part:
            images, best = self.images.index_copy(0, rows, images), self._score.index_copy(0, rows, best)
        self.images, self._score = images, best

    @property
    def broken(self) -> Tensor:
        """(N,) bool, done with; without ``strongest``, the images misclassified by more than rounding."""
        if self._score is None:
            raise RuntimeError("nothing has been offered")
        return self._score == math.inf


def direction(gradient: Tensor, norm: Norm) -> Tensor:
    """Steepest ascent under ``norm``, (N, C, H, W) -> the same; zero where the gradient is zero."""
    if norm == "linf":
        return gradient.sign()
    scaled = _by_largest(gradient)
    return scaled.div_(l2_norm(scaled)[:, None, None, None].clamp_min(1))


def accumulate(velocity: Tensor | None, gradient: Tensor, momentum: float) -> Tensor:
    """``momentum * velocity + gradient / |gradient|_1`` (Dong et al. 2018, eq. 6), all (N, C, H, W)."""
    scaled = _by_largest(gradient)
    scaled.div_(scaled.abs().sum(dim=(1, 2, 3), keepdim=True).clamp_min(1))
    return scaled if velocity is None else scaled.add_(velocity, alpha=momentum)


def _by_largest(gradient: Tensor) -> Tensor:
    # Norms come second: squares and sums of a confident model's gradient underflow in float32. A gradient
    # that is zero or not finite becomes zero. In place where possible: on a CPU, fresh memory is what costs.
    largest = gradient.abs().amax(dim=(1, 2, 3), keepdim=True)
    return (gradient / torch.where(largest > 0, largest, torch.inf)).nan_to_num_(0)


def random_start(images: Tensor, threat: ThreatModel, stream: Stream) -> Tensor:
    """A uniform draw from the ball around each of ``images`` (N, C, H, W), clamped to the box."""
    if threat.norm == "linf":
        noise = (2 * stream.uniform(*images.shape) - 1) * threat.epsilon
    else:
        # Uniform in a d-dimensional ball: a uniform direction, at radius u^(1/d).
        radius = threat.epsilon * stream.uniform(len(images), 1, 1, 1) ** (1 / images[0].numel())
        noise = radius * direction(stream.normal(*images.shape), "l2")
    return threat.project(images + noise.to(images), images)
