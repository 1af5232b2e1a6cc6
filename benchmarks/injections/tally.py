"""What was injected, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from injections.commands import Said


@dataclass
class Count:
    """Of one kind of fault."""

    injected: int = 0
    lost: int = 0
    tracebacks: int = 0
    accepted: int = 0
    refused: int = 0

    @property
    def wrong(self) -> int:
        return self.lost + self.tracebacks + self.accepted


@dataclass
class Tally:
    """Counts by kind, and a line on everything that is wrong, or that could not be injected."""

    kinds: dict[str, Count] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def note(
        self,
        kind: str,
        what: str,
        said: Said,
        *,
        codes: tuple[int, ...] = (0, 2),
        lost: str = "",
        accepted: str = "",
    ) -> None:
        """Count one injection.

        Args:
            kind: of the fault.
            what: was done, in words, for the list of faults.
            said: by the command that met it.
            codes: it may end with.
            lost: what is gone that had been finished and that nobody spoke of.
            accepted: what was taken for whole and is not.
        """
        count = self.kinds.setdefault(kind, Count())
        count.injected += 1
        count.refused += said.code == 2
        unexplained = said.unexplained or ("" if said.code in codes else f"exit {said.code}")
        count.tracebacks += bool(unexplained)
        count.lost += bool(lost)
        count.accepted += bool(accepted)
        for name, problem in (("unexplained", unexplained), ("lost", lost), ("accepted", accepted)):
            if problem:
                self.faults.append(f"{kind}: {what}: {name}: {problem} ({said})")
                print(f"  {self.faults[-1]}", flush=True)

    def miss(self, kind: str, what: str) -> None:
        """Note that a fault was not injected: the command had ended before."""
        self.missed.append(f"{kind}: {what}")

    @property
    def wrong(self) -> int:
        return sum(count.wrong for count in self.kinds.values())
