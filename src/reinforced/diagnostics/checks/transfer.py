"""Transfer: examples made on other models must not do better than examples made on the model itself."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn

from reinforced.attacks.base import Attack, run_attack
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.transfer import Transfer
from reinforced.component import setting
from reinforced.diagnostics.case import Broken, Case
from reinforced.diagnostics.checks.base import Check, counted, listed
from reinforced.diagnostics.findings import Finding, Grade
from reinforced.diagnostics.statistics import Share, exceeds
from reinforced.errors import ReinforcedError


class TransferCheck(Check):
    """MI-FGSM and PGD on every surrogate, the control among them, tried on the images that were left.

    Of PGD the strongest iterate is kept. A surrogate whose own examples break it on less than ``sound`` of
    the images proves nothing and is named.
    Cost: 60 passes on each surrogate an image that was left, and 1 to verify.
    Fires: any witness; a failed control where significantly more (exact binomial test at ``level``) than
    the share ``beaten`` of the images that still stood are broken: white-box attacks should have been there
    first (Athalye et al. 2018, section 3.1; the share is the verdict's bound on attacks without gradients).
    False positives: none of the witnesses; a very weak claimed attack loses too, with sound gradients.
    """

    name: ClassVar[str] = "transfer"

    attacks: tuple[MIFGSM | PGD, ...] = setting(
        (MIFGSM(), PGD(keep="strongest")), "that craft", source="Dong et al. 2018; Carlini et al. 2019"
    )
    sound: float = setting(0.5, "share of a surrogate's images that its own examples must break", ge=0, le=1)
    beaten: float = setting(0.03, "share of the standing images", gt=0, lt=1)
    level: float = setting(0.05, "of the test", gt=0, lt=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        if not case.surrogates:
            return self.cannot("Neither a surrogate nor a control was given to make examples on.")
        stood = case.standing
        broken = torch.zeros_like(stood)
        figures: dict[str, Any] = {}
        refused, feeble = [], []
        for name, surrogate in case.surrogates.items():
            crafted = [self._craft(case, name, surrogate, attack) for attack in self.attacks]
            for done in crafted:
                if isinstance(done, str):
                    refused.append(done)
                    continue
                broken |= done.broken
            usable = any(not isinstance(done, str) for done in crafted)
            figures[f"own_{name}"] = own = self._own(case, surrogate) if usable else 0.0
            if own < self.sound:
                feeble.append(name)
        if len(refused) == len(case.surrogates) * len(self.attacks):
            return self.cannot(refused[0])
        if len(feeble) == len(case.surrogates) and not broken.any():
            return self.cannot(
                f"Examples made on {listed(feeble)} do not break what they were made on, and prove nothing."
            )
        witnesses, fresh, standing = case.witnesses(broken), int((broken & stood).sum()), int(stood.sum())
        figures |= {"broken": len(witnesses), "fresh": fresh, "standing": standing}
        said = (
            f"Examples made on {counted(len(case.surrogates), 'other model')} break {len(witnesses)} of the "
            f"{int(case.claimed.sum())} images left, {fresh} of them among the {standing} that still stood."
        )
        if not witnesses:
            return self.silent(said, **figures)
        p = exceeds(Share(fresh, standing), self.beaten)
        grade: Grade = "failed control" if p < self.level else "witness"
        return self.fires(grade, said, witnesses=witnesses, black_box=True, p=p, **figures)

    def _craft(self, case: Case, name: str, surrogate: nn.Module, attack: Attack) -> Broken | str:
        try:
            return case.attack(
                Transfer({name: surrogate}, attack), on=case.claimed, draws=min(case.draws, 20)
            )
        except ReinforcedError as error:
            return str(error)

    def _own(self, case: Case, surrogate: nn.Module) -> float:
        """Share of 32 images that the surrogate itself gets wrong after the attack; 0 where it cannot run."""
        rows = case.among(case.clean, 32)
        try:
            done = run_attack(
                self.attacks[-1], surrogate, case.images[rows], case.labels[rows], case.threat, seed=case.seed
            )
        except ReinforcedError:
            return 0.0
        case.passes += done.passes
        return 1 - float(done.robust.float().mean()) if len(done.robust) else 0.0
