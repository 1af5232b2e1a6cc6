"""RayS (Chen and Gu 2020, arXiv 2006.12792, algorithm 3): a search over the corners of the L-inf ball."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from reinforced.attacks.base import Access, AttackOutput, AttackSettings, Batch
from reinforced.attacks.minimum_norm import settled
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.component import setting
from reinforced.streams import Stream


class RayS(AttackSettings):
    """Flips ever smaller blocks of a sign vector, and keeps a flip that brings the decision boundary nearer.

    Needs the predicted class alone, has no step size and draws nothing at random. Every image goes on at its
    own pace, with exactly ``queries`` queries, the two that confirm the result included.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("linf",)
    access: ClassVar[Access] = "labels"

    kind: Literal["rays"] = "rays"
    queries: int = setting(10_000, "queries an image", ge=3, source="Chen and Gu 2020, released code")
    tolerance: float = setting(
        1e-3, "of the bisection along a ray, in L2", unit="pixels of [0,1]", gt=0, source="Chen and Gu 2020"
    )
    stop_inside: bool = setting(False, "leave an image alone once its radius is at most epsilon")

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`; ``stream`` is not used."""
        del stream
        found = batch.images.clone()
        left = torch.arange(len(found), device=found.device)
        search = _Search(batch.images, self.tolerance)
        with torch.no_grad():
            for _ in range(self.queries - 2):
                fooled = model(search.proposals()).argmax(dim=1) != batch.labels[left]
                search.learn(fooled)
                if self.stop_inside:
                    inside = search.radius <= threat.epsilon
                    if inside.any():
                        found[left[inside]] = search.best()[inside]
                        left = left[~inside]
                        search.keep(~inside)
                    if len(left) == 0:
                        break
        found[left] = search.best()
        return settled(model, batch, threat, found)


class _Search:
    """The search's state for N images of d pixels: a ray is an image's direction in {-1, 1}^d.

    Distances along a ray are L2, as in the paper; divided by sqrt(d) they are L-inf. Every image is either at
    the fast check of an attempted direction (is it adversarial at the best distance so far?) or bisecting
    along it.
    """

    def __init__(self, images: Tensor, tolerance: float) -> None:
        self.images, self.tolerance = images, tolerance
        count, self.dim = len(images), images[0].numel()
        self.direction = images.new_ones(count, self.dim)
        self.distance = images.new_full((count,), math.inf)
        self.bisecting = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.low = images.new_zeros(count)
        self.high = images.new_zeros(count)
        self.stage = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.block = torch.zeros_like(self.stage)
        self.attempt = self._flipped()

    @property
    def radius(self) -> Tensor:
        """(N,): the L-inf distance of the nearest adversarial image so far, infinite where there is none."""
        return self.distance / math.sqrt(self.dim)

    def proposals(self) -> Tensor:
        """The next query of each image, (N, C, H, W)."""
        return self._along(self.attempt, self._asked())

    def learn(self, fooled: Tensor) -> None:
        """Take in whether each proposal was misclassified, (N,) bool."""
        asked = self._asked()
        # A query at the fast check sets the bisection's ends, one in the bisection moves one of them.
        self.high = torch.where(fooled, asked, self.high)
        self.low = torch.where(self.bisecting, torch.where(fooled, self.low, asked), 0.0)
        self.bisecting = self.bisecting | fooled
        found = self.bisecting & (self.high - self.low <= self.tolerance)
        better = self.bisecting & (self.high < self.distance)
        # Kept at once, not at the bisection's end, so that nothing is lost when queries run out.
        self.distance = torch.where(better, self.high, self.distance)
        self.direction = torch.where(better[:, None], self.attempt, self.direction)
        self._next(found | ~self.bisecting)

    def best(self) -> Tensor:
        """The nearest adversarial image of each, (N, C, H, W); the image itself where there is none."""
        return self._along(self.direction, self.distance.nan_to_num(posinf=0.0))

    def keep(self, rows: Tensor) -> None:
        """Go on with the images ``rows`` (N,) bool alone."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])

    def _asked(self) -> Tensor:
        # At sqrt(d) every pixel has reached an end of the box: no ray goes further.
        check = self.distance.clamp_max(math.sqrt(self.dim))
        return torch.where(self.bisecting, (self.low + self.high) / 2, check)

    def _along(self, direction: Tensor, distance: Tensor) -> Tensor:
        moved = self.images.flatten(1) + (distance / math.sqrt(self.dim))[:, None] * direction
        return moved.clamp(0, 1).view_as(self.images)

    def _next(self, done: Tensor) -> None:
        """Where ``done``, attempt the next block, at the end of the image the next stage."""
        size = self._block_size()
        last = (self.block + 1) * size >= self.dim
        # Blocks of one pixel stay so: the paper goes over them again as long as there are queries.
        finer = torch.where(size > 1, self.stage + 1, self.stage)
        self.stage = torch.where(done & last, finer, self.stage)
        self.block = torch.where(done, torch.where(last, 0, self.block + 1), self.block)
        self.bisecting = self.bisecting & ~done
        self.attempt = torch.where(done[:, None], self._flipped(), self.attempt)

    def _block_size(self) -> Tensor:
        parts = 2**self.stage
        return (self.dim + parts - 1) // parts

    def _flipped(self) -> Tensor:
        pixel = torch.arange(self.dim, device=self.images.device)
        inside = pixel // self._block_size()[:, None] == self.block[:, None]
        return torch.where(inside, -self.direction, self.direction)
