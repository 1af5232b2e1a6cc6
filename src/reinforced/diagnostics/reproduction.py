"""The claimed attack, run again on the model and on its undefended control."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reinforced.attacks.base import AttackOutput, Batch, run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import NORMS, ThreatModel
from reinforced.diagnostics.case import DRAWS, Case, Runner
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.evaluation.preflight import Preflight, preflight
from reinforced.streams import Stream

STRONG = PGD(steps=100, loss="margin")
"""What the control meets beside the claimed attack: an undefended model does not stand it."""


@dataclass(frozen=True)
class Against:
    """The control before attacks, under the claimed one, and under a strong one after it: (N,) bool each."""

    clean: Tensor
    claimed: Tensor
    left: Tensor


def reproduce(
    claim: Claim,
    model: nn.Module,
    control: nn.Module | None,
    images: Tensor,
    labels: Tensor,
    checked: Preflight,
    seed: int,
    run: Runner,
) -> dict[str, Tensor]:
    """Run the claimed attack; gives what :data:`~reinforced.diagnostics.kept.OUTCOME` names, (N,) bool."""
    clean, left, passes = _run(claim, model, images, labels, checked, seed, run)
    before = against = torch.zeros_like(clean)
    if control is not None:
        known = preflight(control, images, labels, [])
        before, against, more = _run(claim, control, images, labels, known, seed, run)
        passes += more
    return {
        "clean": clean,
        "claimed": left,
        "control_clean": before,
        "control": against,
        "passes": torch.tensor(passes),
    }


def _run(
    claim: Claim,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    checked: Preflight,
    seed: int,
    run: Runner,
) -> tuple[Tensor, Tensor, int]:
    attack = parse_attack(claim.attack)
    if isinstance(attack, PGDAsReleased) and checked.randomised:
        raise ReinforcedError(
            f"claim {claim}: {attack.name} predicts once, which proves nothing on a randomised model; "
            "claim pgd"
        )
    draws = DRAWS if checked.randomised else 1
    nothing = run_attack(Still(), model, images, labels, claim.threat, seed=seed, draws=draws)
    clean = nothing.clean_correct.cpu()
    access = "gradients" if isinstance(attack, PGDAsReleased) else attack.access
    if checked.blocks(access):
        return clean, clean, nothing.passes  # such an attack breaks nothing, as the claimant found
    if isinstance(attack, PGDAsReleased):
        released = attack.run(model, images, labels, claim.threat, seed=seed)
        # Its own count also takes in images that it turned right; they are no robustness.
        spent = nothing.passes + released.forwards + released.gradients
        return clean, clean & released.correct.cpu(), spent
    result = run(attack, model, images, labels, claim.threat, seed=seed, draws=draws)
    # A randomised model may be right in the attack's draws alone; what is not clean is nobody's to claim.
    return clean, clean & result.robust.cpu(), nothing.passes + result.passes


def strongly(case: Case, standing: Tensor) -> tuple[Tensor, int]:
    """What :data:`STRONG` leaves of the control's images ``standing``, (N,) bool, and the passes it took."""
    assert case.control is not None
    rows = standing.nonzero().squeeze(1)
    checked = preflight(case.control, case.images, case.labels, [])
    left = standing.clone()
    if not len(rows) or checked.blocks("gradients"):
        return left, 0
    draws = DRAWS if checked.randomised else 1
    part = case.images[rows], case.labels[rows]
    result = case.run(STRONG.suited(draws), case.control, *part, case.threat, seed=case.seed, draws=draws)
    left[rows] = result.robust.cpu()
    return left, result.passes


class Still:
    """Proposes the images themselves, so that the runner says which are rightly classified."""

    name = "none"
    norms = NORMS

    def candidates(
        self,
        model: nn.Module,  # noqa: ARG002
        batch: Batch,
        threat: ThreatModel,  # noqa: ARG002
        stream: Stream,  # noqa: ARG002
    ) -> AttackOutput:
        """The images as they are."""
        return AttackOutput(batch.images)
