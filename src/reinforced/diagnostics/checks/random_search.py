"""Random search: what is found without looking must be found by looking."""

from __future__ import annotations

from typing import ClassVar

from reinforced.attacks.random_search import RandomSearch
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Finding
from reinforced.diagnostics.statistics import Share, exceeds


class RandomSearched(Check):
    """Uniform draws from the ball and its corners, on images that still stand (Athalye et al. 2018, 3.1).

    Cost: 60 passes an image quick, 500 standard, 5,000 thorough.
    Fires: any witness; a failed control where it breaks significantly more (exact binomial test at
    ``level``) than the share ``beaten`` of what gradients left. The share is the verdict's own bound on
    attacks without gradients.
    False positives: none of the witnesses; a claim by a very weak attack also loses to random search, with
    sound gradients.
    """

    name: ClassVar[str] = "random_search"

    quick: int = setting(60, "draws an image", ge=1)
    standard: int = setting(500, "draws an image", ge=1)
    thorough: int = setting(5000, "draws an image", ge=1)
    beaten: float = setting(0.03, "share of the standing images", gt=0, lt=1)
    level: float = setting(0.05, "of the test", gt=0, lt=1)

    def measure(self, case: Case) -> Finding:
        """See the class."""
        reason = case.blocks("scores")
        if reason:
            return self.cannot(f"It needs scores, and the model gives none: {reason}.")
        samples = {"quick": self.quick, "standard": self.standard, "thorough": self.thorough}[case.budget]
        done = case.attack(RandomSearch(samples=samples), on=case.standing, draws=min(case.draws, 20))
        witnesses, standing = case.witnesses(done.broken), int(done.attacked.sum())
        broke = f"break {len(witnesses)} of the {standing} images that still stood"
        said = f"{samples} random draws from the ball {broke}."
        p = exceeds(Share(len(witnesses), standing), self.beaten)
        if not witnesses:
            return self.silent(said, broken=0, standing=standing)
        return self.fires(
            "failed control" if p < self.level else "witness",
            said,
            witnesses=witnesses,
            black_box=True,
            broken=len(witnesses),
            standing=standing,
            p=p,
        )
