"""Binary problems around images, made from the model's own features, whose adversarial solution is known.

After Zimmermann et al. 2022 (arXiv 2206.13991), section 3, and their decision_boundary_binarization.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.pgd import random_start
from reinforced.attacks.random_search import on_surface
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.readout import features_of, hooked
from reinforced.streams import Stream

INNER = 0.95
"""Inner points reach this part of epsilon (the paper's gap of 0.05)."""
CLOSENESS, AMID_NOISE = 0.9, 0.5
"""Where the decision boundary lies on the way from the furthest inner point to the boundary point; amid the
noise of randomised models it must leave room on both sides."""
RIDGES = (1e3, 1e2, 1e1, 1e0, 1e-1, 1e-2, 1e-3)
"""Of the read-out's fit, as a part of the points' mean squared length: the first that parts them is taken."""
CHUNK = 256


@dataclass
class Problems:
    """M binary problems: an image's own class against the rest, at one point of the ball around each.

    Attributes:
        originals: (M, C, H, W), and ``labels`` (M,): what an attack is given.
        solutions: (M, C, H, W), a misclassified image each, in the ball.
        weights: (M, F) and ``bias`` (M,): the read-out, 1 at the image itself, below 0 at its solution.
        logits: (M, K), what the model's read-out says of the image itself.
        solved: (M,) bool, whether the binarised model says all this of image and solution.
    """

    originals: Tensor
    labels: Tensor
    solutions: Tensor
    weights: Tensor
    bias: Tensor
    logits: Tensor
    solved: Tensor

    def only(self, rows: Tensor) -> Problems:
        """Those that ``rows`` (M,) bool say."""
        return Problems(*(value[rows] for value in vars(self).values()))


class Binarised(nn.Module):
    """The model with a read-out of its own for every ball: [0,1] images (N, C, H, W) to logits (N, K).

    The label's logit is as far above the next as it was on the image itself, times the binary read-out; the
    others stay as they were there. So the attack meets the model's own scale, and whatever comes after the
    read-out in the model still does. Which read-out an image meets, the nearest original decides.

    Args:
        model: in eval mode.
        head: the read-out that is replaced, or ``None``: the model's own logits are the features then.
        threat: the balls.
        problems: whose balls do not meet, see :func:`groups`.
    """

    def __init__(
        self, model: nn.Module, head: nn.Module | None, threat: ThreatModel, problems: Problems
    ) -> None:
        super().__init__()
        self.model, self.head, self.threat, self.problems = model, head, threat, problems

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        whose = nearest(images.detach(), self.problems.originals, self.threat)
        if self.head is None:
            return self._read(self.model(images), whose)

        def replace(_module: nn.Module, given: tuple[Any, ...], _output: Any) -> Tensor:
            return self._read(given[0], whose)

        with hooked(self.head, replace):
            logits: Tensor = self.model(images)
        return logits

    def _read(self, features: Tensor, whose: Tensor) -> Tensor:
        these = self.problems
        # In double precision: the boundary may be a millionth of the scores away.
        score = (features.double() * these.weights[whose]).sum(1) + these.bias[whose]
        logits, labels = these.logits[whose], these.labels[whose][:, None]
        rest = logits.scatter(1, labels, -torch.inf).amax(1)
        margin = (logits.gather(1, labels)[:, 0] - rest).double()
        return logits.scatter(1, labels, (rest + score * margin).to(logits.dtype)[:, None])


def nearest(images: Tensor, originals: Tensor, threat: ThreatModel) -> Tensor:
    """The nearest of M originals to each image, (N,) int64."""
    p = float("inf") if threat.norm == "linf" else 2.0
    return torch.cdist(images.flatten(1), originals.flatten(1), p=p).argmin(1)


def groups(originals: Tensor, threat: ThreatModel) -> list[Tensor]:
    """Sets of images (M,) bool whose balls do not meet, all images in one of them."""
    p = float("inf") if threat.norm == "linf" else 2.0
    near = torch.cdist(originals.flatten(1), originals.flatten(1), p=p) < 2.01 * threat.epsilon
    found: list[Tensor] = []
    for number in range(len(originals)):
        home = next((group for group in found if not (group & near[number]).any()), None)
        if home is None:
            home = torch.zeros(len(originals), dtype=torch.bool, device=originals.device)
            found.append(home)
        home[number] = True
    return found


def build(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel,
    stream: Stream,
    *,
    head: nn.Module | None,
    inner: int,
    candidates: int,
    draws: int = 1,
) -> Problems:
    """A problem for each of the images; call without gradients.

    Args:
        model: in eval mode.
        images, labels: (M, C, H, W) in [0,1] and (M,), on the model's device.
        threat: the balls.
        stream: of the points.
        head: see :class:`Binarised`.
        inner: points inside, kept with the image's own class.
        candidates: points on the surface; that which stands out furthest is the solution.
        draws: passes an image whose features are averaged, for randomised models.
    """
    closer = ThreatModel(threat.norm, INNER * threat.epsilon)
    solutions, weights, biases, logits = [], [], [], []
    for image in images:
        one = image[None]
        inside = torch.cat([one, random_start(one.expand(inner, -1, -1, -1), closer, stream)])
        outside = on_surface(one.expand(candidates, -1, -1, -1), threat, stream)
        points = torch.cat([inside, outside])
        features = torch.cat([_mean(model, head, part, draws) for part in torch.split(points, CHUNK)])
        chosen, weight, bias = _parted(
            features[: inner + 1], features[inner + 1 :], CLOSENESS if draws == 1 else AMID_NOISE
        )
        solutions.append(outside[chosen])
        weights.append(weight)
        biases.append(bias)
        own = features[:1].to(one.dtype)
        logits.append(own[0] if head is None else head(own)[0])
    made = Problems(
        images,
        labels,
        torch.stack(solutions),
        torch.stack(weights),
        torch.stack(biases),
        torch.stack(logits),
        torch.ones_like(labels, dtype=torch.bool),
    )
    for rows in groups(images, threat):
        binarised = Binarised(model, head, threat, made.only(rows))
        kept, given = images[rows], made.solutions[rows]
        made.solved[rows] = _right(binarised, kept, labels[rows], draws) & ~_right(
            binarised, given, labels[rows], draws
        )
    return made


def _mean(model: nn.Module, head: nn.Module | None, images: Tensor, draws: int) -> Tensor:
    return torch.stack([features_of(model, head, images).double() for _ in range(draws)]).mean(0)


def _right(model: nn.Module, images: Tensor, labels: Tensor, draws: int) -> Tensor:
    right = torch.stack([model(images).argmax(1) == labels for _ in range(draws)]).float().mean(0)
    return right > 0.5


def _parted(inner: Tensor, outer: Tensor, closeness: float) -> tuple[int, Tensor, Tensor]:
    """Which of ``outer`` (C, F) is parted from ``inner`` (1 + I, F), by which plane: w x + b.

    Fisher's discriminant of the inner points against each candidate, as strongly regularised as parts one:
    then its direction is one that the features really take, as of a support vector machine. Existence of the
    solution is checked on the model. 1 at the first inner point. What stands out furthest serves where no
    candidate is parted.
    """
    centre = inner.mean(0)
    spread, beyond = inner - centre, outer - centre
    # A system of the points, not of the features (Woodbury), which may be many more.
    kernel = spread @ spread.T
    values, vectors = torch.linalg.eigh(kernel)
    cross = vectors.T @ (spread @ beyond.T)
    scale = kernel.diagonal().mean() + 1e-30
    for ridge in RIDGES:
        shrunk = cross / (values.clamp_min(0)[:, None] + ridge * scale)
        weights = beyond - (vectors @ shrunk).T @ spread
        furthest = (spread @ weights.T).amax(0)
        own = (weights * beyond).sum(1)
        gaps = (own - furthest) / own.abs().clamp_min(1e-30)
        chosen = int(gaps.argmax())
        if gaps[chosen] > 0:
            break
    weight = weights[chosen]
    at = furthest[chosen] + closeness * (own[chosen] - furthest[chosen])
    unit = at - spread[0] @ weight
    return chosen, -weight / unit, (at + weight @ centre) / unit
