"""A claim under examination: the model, the images, and every verified example found so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from reinforced.attacks.base import Attack, AttackResult, run_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.findings import Claim
from reinforced.evaluation.preflight import Preflight
from reinforced.evaluation.verify import holding

Budget = Literal["quick", "standard", "thorough"]
BUDGETS: tuple[Budget, ...] = ("quick", "standard", "thorough")
DRAWS = 100
Runner = Callable[..., AttackResult]
"""Runs an attack as :func:`~reinforced.attacks.base.run_attack` does; it may share the chunks out."""


class Broken(NamedTuple):
    """What an attack of a check did.

    Attributes:
        attacked: (N,) bool, the images it was let loose on.
        broken: (N,) bool, those of them with a verified example.
        result: the runner's own findings (of the stand-in, where one was attacked).
    """

    attacked: Tensor
    broken: Tensor
    result: AttackResult

    @property
    def rate(self) -> float:
        """Share of the attacked images that were broken; 0 if none was attacked."""
        return int(self.broken.sum()) / max(1, int(self.attacked.sum()))


@dataclass
class Case:
    """What a check may use. All (N,) tensors are bool, on the CPU.

    Attributes:
        model: [0,1] images (N, C, H, W) to logits (N, K), in eval mode.
        images, labels: (N, C, H, W) float32 in [0,1] and (N,) int64, on the CPU.
        claim: what is claimed of the model.
        clean, claimed: rightly classified; and left by the claimed attack.
        checked: what preflight found out about the model.
        control: an undefended model, or ``None``.
        surrogates: models to transfer from, by name.
        budget: how much may be spent.
        seed: of every draw.
        smoothed: the network that the claim's certificate smooths, without the noise, or ``None``.
        run: what runs the attacks.
        examples: row to a verified example that breaks it.
        passes: spent so far, in images.
    """

    model: nn.Module
    images: Tensor
    labels: Tensor
    claim: Claim
    clean: Tensor
    claimed: Tensor
    checked: Preflight
    control: nn.Module | None = None
    surrogates: Mapping[str, nn.Module] = field(default_factory=dict)
    budget: Budget = "standard"
    seed: int = 0
    smoothed: nn.Module | None = None
    run: Runner = run_attack
    examples: dict[int, Tensor] = field(default_factory=dict)
    passes: int = 0

    @property
    def threat(self) -> ThreatModel:
        """The claim's."""
        return self.claim.threat

    @property
    def standing(self) -> Tensor:
        """(N,) bool, claimed and not yet broken by anything verified."""
        standing = self.claimed.clone()
        standing[list(self.examples)] = False
        return standing

    @property
    def draws(self) -> int:
        """Predictions an image: more than one only of a randomised model."""
        return DRAWS if self.checked.randomised else 1

    def blocks(self, access: str) -> str:
        """Why attacks that need this access cannot be run; empty where they can."""
        return self.checked.blocks(access)

    def among(self, wanted: Tensor, count: int) -> Tensor:
        """(N,) bool, the first ``count`` of the images ``wanted``."""
        return wanted & (wanted.cumsum(0) <= count)

    def attack(
        self,
        attack: Attack,
        *,
        on: Tensor,
        stand_in: nn.Module | None = None,
        threat: ThreatModel | None = None,
        draws: int | None = None,
    ) -> Broken:
        """Let an attack loose on some images, and verify what it gives on the model itself.

        Args:
            attack: proposes.
            on: (N,) bool, the images to attack; misclassified ones are left out.
            stand_in: attacked in the model's place (a differentiable copy, say); its examples count only
                where they break the model.
            threat: another than the claim's; its examples are no witnesses then.
            draws: predictions an image while attacking; the model's own number if left out.

        Returns:
            What was attacked and broken. Under the claim's threat, what is broken counts as witnessed.
        """
        ball = threat or self.threat
        rows = (on & self.clean).nonzero().squeeze(1)
        if not len(rows):
            return Broken(
                torch.zeros_like(self.clean), torch.zeros_like(self.clean), _nothing(self.images[:0])
            )
        result = self.run(
            attack,
            stand_in or self.model,
            self.images[rows],
            self.labels[rows],
            ball,
            seed=self.seed,
            draws=self.draws if draws is None else draws,
        )
        self.passes += result.passes
        candidates = rows[~result.robust] if stand_in is None else rows
        found = result.images[~result.robust] if stand_in is None else result.images
        held = self.holding(candidates, found, ball)
        broken = torch.zeros_like(self.clean)
        broken[candidates[held]] = True
        if threat is None:
            self.keep(candidates[held], found[held])
        attacked = torch.zeros_like(self.clean)
        attacked[rows] = True
        return Broken(attacked, broken, result)

    def holding(self, rows: Tensor, found: Tensor, threat: ThreatModel | None = None) -> Tensor:
        """Which examples (M, C, H, W) of images ``rows`` (M,) hold, by code that no attack shares: (M,)."""
        self.passes += len(rows) * self.draws
        return holding(
            self.model, self.images[rows], found, self.labels[rows], str(threat or self.threat), self.draws
        )

    def keep(self, rows: Tensor, found: Tensor) -> None:
        """Count verified examples: the first one of an image is kept."""
        for row, example in zip(rows.tolist(), found.cpu(), strict=True):
            if bool(self.claimed[row]):
                self.examples.setdefault(row, example.clone())

    def witnesses(self, broken: Tensor) -> tuple[int, ...]:
        """Rows of ``broken`` (N,) that the claimed attack had left."""
        return tuple((broken & self.claimed).nonzero().squeeze(1).tolist())


def _nothing(images: Tensor) -> AttackResult:
    """What an attack does to no image, (0, C, H, W)."""
    none, zero = torch.zeros(0, dtype=torch.bool), torch.zeros(0)
    return AttackResult(none, none, images, zero, none, zero, 0, 0, 0, 0, (), 0.0)
