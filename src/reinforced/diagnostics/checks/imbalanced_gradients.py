"""Margin decomposition: attack one logit of the margin first, where the other one's gradient drowns it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, Batch
from reinforced.attacks.losses import margin, rounding, widened
from reinforced.attacks.pgd import Keeper, direction, random_start
from reinforced.attacks.threat import NORMS, Norm, ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding, Grade
from reinforced.diagnostics.statistics import Share, exceeds
from reinforced.streams import Stream


@dataclass(frozen=True)
class MarginDecomposition:
    """Half of the steps on one logit alone, the other half on the margin; each logit has a start of its own.

    The MD attack of Jiang et al. 2023 (arXiv 2006.13726) with the two starts and the first step (up the
    label's logit) of its code; steps fall from twice epsilon along a cosine in either half. In L2 along unit
    directions, which is ours. Costs 2 (steps + 1) forward passes and 2 steps input gradients.
    """

    steps: int
    name: str = "margin-decomposition"
    norms: Collection[Norm] = NORMS

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        """See :class:`~reinforced.attacks.base.Attack`."""
        keeper = Keeper(batch.images)
        for rival in (False, True):
            x = random_start(batch.images, threat, stream)
            for taken in range(self.steps + 1):
                x = x.detach().requires_grad_()
                logits = widened(model(x))
                lead = margin(logits, batch.labels)
                keeper.offer(x.detach(), lead.detach(), rounding(logits.detach()))
                if taken == self.steps or keeper.broken.all():
                    break
                label = logits.gather(1, batch.labels[:, None]).squeeze(1)
                stage = [label, lead + label if rival else -label, lead]
                first = 0 if taken == 0 else 1 if taken < self.steps // 2 else 2
                (gradient,) = torch.autograd.grad(stage[first].sum(), x)
                ahead = x.detach() + self._length(taken) * threat.epsilon * direction(gradient, threat.norm)
                x = threat.project(ahead, batch.images)
        return AttackOutput(keeper.images)

    def _length(self, taken: int) -> float:
        half = max(1, self.steps // 2)
        return 1 + math.cos(math.pi * (taken % half) / half)


class ImbalancedGradients(Check):
    """The margin decomposition attack on images that still stand.

    Where the gradient of one logit dominates the margin's, attacks on the whole margin follow it alone (Jiang
    et al. 2023). All it breaks are witnesses; a mechanism where that is surely (exact test, 5 %) more than
    ``excess`` of the images, since what still stands here has withstood whole-margin attacks. Cost: 4 passes
    a step on images that survive, 20 steps in the quick budget. Threshold: as loss_saturation's, and the
    test because of docs/checks/imbalanced_gradients.md. False positives: none in witnesses; as a mechanism,
    any model that the attacks before it were too weak for.
    """

    name: ClassVar[str] = "imbalanced_gradients"

    steps: int = setting(50, "of either start", source="Jiang et al. 2023", ge=2)
    quick_steps: int = setting(20, "in the quick budget", ge=2)
    excess: float = setting(0.05, "of the images; surely more broken: a mechanism", ge=0)

    def measure(self, case: Case) -> Finding:
        """Attack what still stands."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        standing = int(case.standing.sum())
        steps = self.quick_steps if case.budget == "quick" else self.steps
        broken: Tensor = case.attack(MarginDecomposition(steps), on=case.standing).broken
        count = int(broken.sum())
        message = f"Attacking one logit at a time breaks {count} of the {standing} images that still stood."
        figures: dict[str, Any] = {"broken": count, "standing": standing, "excess": self.excess}
        if not count:
            return self.silent(message, **figures)
        sure = exceeds(Share(count, len(broken)), self.excess) < 0.05
        grade: Grade = "mechanism" if sure else "witness"
        return self.fires(grade, message, witnesses=case.witnesses(broken), **figures)
