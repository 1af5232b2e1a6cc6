"""Convergence: whether the claimed attack had finished, and what more steps and restarts find."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from reinforced.attacks.base import Attack, AttackOutput, Batch
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.seal import device_of, sealed
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import Norm, ThreatModel
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding
from reinforced.streams import Stream


class Convergence(Check):
    """PGD with ``more`` times the claimed steps and several restarts, on all claimed images.

    Also re-runs a claimed PGD or MI-FGSM on up to 32 of them and follows the running best of its own loss:
    what part of its rise falls into the last fifth of the steps (Carlini et al. 2019, arXiv 1902.06705: an
    attack is iterated until it converges). A straight line gives 0.2, convergence nearly 0.
    Cost: two passes a step and restart on images that stand: 120 quick, ``8 * restarts`` a claimed step
    beyond (480 for PGD-20), at most 2,400.
    Fires: any witness; without one the rise alone, above ``rising``, as a heuristic (own choice, calibrated).
    False positives: none of the witnesses; rise alone is a hint.
    """

    name: ClassVar[str] = "convergence"

    more: int = setting(4, "times the claimed steps", ge=2)
    restarts: int = setting(3, "starts, from the standard budget on", ge=1)
    steps: int = setting(400, "at most", ge=1)
    quick: int = setting(60, "steps at most, from one start, on the quick budget", ge=1)
    rising: float = setting(0.1, "part of the loss's rise in the last fifth of the steps", ge=0, le=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        reason = case.blocks("gradients")
        if reason:
            return self.cannot(f"It needs gradients, and the model gives none: {reason}.")
        claimed = parse_attack(case.claim.attack)
        taken = int(getattr(claimed, "steps", 20))
        quick = case.budget == "quick"
        steps = min(self.more * taken, self.quick if quick else self.steps)
        attack = PGD(steps=max(steps, min(taken, self.steps)), restarts=1 if quick else self.restarts)
        attack = attack.suited(case.draws)
        late = self._late(case, claimed) if isinstance(claimed, PGD | MIFGSM) else None
        done = case.attack(attack, on=case.claimed, draws=min(case.draws, 20))
        witnesses, attacked = case.witnesses(done.broken), int(done.attacked.sum())
        figures: dict[str, Any] = {"rise": late, "broken": len(witnesses), "attacked": attacked}
        moving = late is not None and late > self.rising
        said = ""
        if late is not None:
            said = (
                f"; {100 * late:.0f} % of what the claimed attack gained came in the last fifth of its steps"
            )
        if witnesses:
            return self.fires(
                "witness",
                f"{attack.name} breaks {len(witnesses)} of the {attacked} images left{said}.",
                witnesses=witnesses,
                **figures,
            )
        if moving:
            return self.fires("heuristic", f"The claimed attack had not finished{said}.", **figures)
        return self.silent(f"{attack.name} breaks none of the {attacked} images left{said}.", **figures)

    def _late(self, case: Case, attack: Attack) -> float | None:
        """Mean part of the running best's rise in the last fifth; none where no path is recorded."""
        rows = case.among(case.claimed, 32).nonzero().squeeze(1)
        device = device_of(case.model)
        if not len(rows):
            return None
        recorder = _Recorder(attack)
        with sealed(case.model, device) as model:
            torch.manual_seed(case.seed)
            batch = Batch(case.images[rows].to(device), case.labels[rows].to(device))
            recorder.candidates(model, batch, case.threat, Stream(case.seed, "convergence"))
            case.passes += model.forwards + model.gradients
        return None if recorder.trace is None else late_rise(recorder.trace)


class _Recorder:
    """Keeps the trace that the runner drops."""

    def __init__(self, attack: Attack) -> None:
        self.attack = attack
        self.trace: Tensor | None = None

    @property
    def norms(self) -> Collection[Norm]:
        return self.attack.norms

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        output = self.attack.candidates(model, batch, threat, stream)
        self.trace = output.trace
        return output


def late_rise(trace: Tensor) -> float | None:
    """(T, N) losses to the mean part of the running best's rise that falls into the last fifth of T."""
    if len(trace) < 10:
        return None
    best = trace.double().cummax(0).values
    total = best[-1] - best[0]
    moved = total > 0
    if not moved.any():
        return 0.0
    late = (best[-1] - best[len(best) - 1 - len(best) // 5])[moved] / total[moved]
    return float(late.mean())
