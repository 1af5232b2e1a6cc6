"""The protocol of a check: it looks for one way in which a robustness claim can be wrong."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from reinforced.component import Component
from reinforced.diagnostics.case import BUDGETS, Budget, Case
from reinforced.diagnostics.findings import Claim, Figure, Finding, Grade


class Check(Component):
    """Base of the checks: one file each, its fields its settings, the thresholds among them.

    Attributes:
        name: short and stable.
        since: the smallest budget that runs it.
    """

    name: ClassVar[str]
    since: ClassVar[Budget] = "quick"

    @abstractmethod
    def measure(self, case: Case) -> Finding:
        """Look, and say what was found. What is attacked goes through :meth:`Case.attack`."""

    def runs_in(self, budget: Budget) -> bool:
        """Whether a diagnosis of this budget includes it."""
        return BUDGETS.index(budget) >= BUDGETS.index(self.since)

    def concerns(self, claim: Claim) -> bool:  # noqa: ARG002 - most do
        """Whether there is anything for it to look at in such a claim."""
        return True

    def silent(self, message: str, **figures: Figure) -> Finding:
        """It ran, and found nothing against the claim; ``message`` is a sentence, here as below."""
        return Finding(self.name, False, message, figures=figures)

    def fires(
        self,
        grade: Grade,
        message: str,
        *,
        witnesses: tuple[int, ...] = (),
        black_box: bool = False,
        remedies: tuple[str, ...] = (),
        **figures: Figure,
    ) -> Finding:
        """It ran, and speaks against the claim; see :class:`~reinforced.diagnostics.findings.Finding`."""
        return Finding(
            self.name,
            True,
            message,
            grade,
            figures,
            witnesses=witnesses,
            black_box=black_box,
            remedies=remedies,
        )

    def cannot(self, reason: str) -> Finding:
        """It could not be run."""
        return Finding(self.name, None, reason)

    def failed(self, error: Exception) -> Finding:
        """The model's own code failed under it: what it would have shown is open, and the claim with it."""
        said = " ".join(str(error).split())[:160]
        return self.fires(
            "failed control", f"The model failed under this check: {type(error).__name__}: {said}."
        )


def counted(count: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
