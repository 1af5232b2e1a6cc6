"""What the judge says of a claim about a run."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Literal

from reinforced.attacks.spec import parse_attack
from reinforced.component import setting
from reinforced.diagnostics.case import Budget
from reinforced.diagnostics.findings import Claim
from reinforced.errors import ReinforcedError
from reinforced.studies.diagnosis import control_folder, diagnose_subject, find_control
from reinforced.studies.reproduce.measures.base import (
    Bench,
    Column,
    Reading,
    Unit,
    digest,
    options,
    read_json,
    sha256,
)
from reinforced.studies.sweep.cost import image_passes


class Judged(Column):
    """A verdict, or an accuracy in it; columns of one claim share the diagnosis."""

    measure: Literal["verdict"]
    claim: str = setting(..., "ATTACK@THREAT, as in pgd@l2:1.0")
    budget: Budget = setting("standard", "what the judge may spend")
    control: str | None = setting(
        None, "row whose run of the same seed is the control; its own recipe undefended if left out"
    )
    of: Literal["label", "claimed", "residual"] = setting("label", "the verdict, or what was or is left")

    @property
    def unit(self) -> Unit:
        """See :class:`Column`."""
        return "text" if self.of == "label" else "share"

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`Column`."""
        return () if self.control is None else (self.control,)

    def check(self) -> None:
        """See :class:`Column`."""
        parse_attack(Claim.parse(self.claim).attack)

    def read(self, bench: Bench) -> Reading | None:
        """See :class:`Column`."""
        model = digest(bench.run, "last")
        asked = {
            "claim": str(Claim.parse(self.claim)),
            "budget": self.budget,
            "seed": 0,
            "model_sha256": model,
            "surrogates": {},
        }
        if model is None:
            return None
        control = control_folder(bench.run) if self.control is None else bench.sibling(self.control)
        asked["control_sha256"] = None if control is None else digest(control, "last")
        for file in sorted(bench.run.glob("diagnostics/*/verdict.json")):
            setup, record = read_json(file.with_name("setup.json")) or {}, read_json(file) or {}
            if record["images"] == self.count(bench) and all(setup[key] == asked[key] for key in asked):
                value = record["label"] if self.of == "label" else record[self.of]["share"]
                evidence = {"model": setup["model_sha256"], "data": setup["data_sha256"]}
                outcomes = sha256(f"{record['label']} {record['residual']} {record['claimed']}")
                return Reading(value, record["images"], evidence | {"outcomes": outcomes})
        return None

    def make(self, bench: Bench, told: Callable[[str], None]) -> None:
        """See :class:`Column`.

        Raises:
            ReinforcedError: the control's row has no run of this seed.
        """
        if self.control is None:
            control = find_control(bench.run, bench.device, bench.root)
        else:
            run = bench.sibling(self.control)
            if run is None:
                raise ReinforcedError(f"column {self.id}: no run of {self.control} with this seed")
            control = bench.subject("last", 1, run).model
        diagnose_subject(
            bench.subject("last", self.count(bench)),
            Claim.parse(self.claim),
            budget=self.budget,
            control=control,
            surrogates={},
            smoothed=None,
            seed=0,
            told=lambda check: told(f"diagnose: {check}"),
        )

    def passes(self, images: int) -> float:
        """See :class:`Column`: the claimed attack twice and AutoAttack, which the checks come on top of."""
        claimed = image_passes(parse_attack(Claim.parse(self.claim).attack))
        ensemble = 0.0 if self.budget == "quick" else image_passes(parse_attack("autoattack"))
        return images * (2 * claimed + self.standing * ensemble)

    def command(self, images: int, test: str | None) -> str:
        """See :class:`Column`."""
        control = "" if self.control is None else f"--control RUN-OF-{self.control} "
        end = options(images, test, "last")
        return (
            f"reinforced diagnose RUN --claim {shlex.quote(self.claim)} --budget {self.budget} {control}{end}"
        )
