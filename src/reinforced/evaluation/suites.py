"""Named sets of attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from reinforced.attacks.base import AttackSettings
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attacks
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError

QUICK = ("fgsm", "pgd(steps=20)", "pgd(steps=20,loss=margin)")
STANDARD = (*QUICK, "autoattack")
FULL = (
    *STANDARD,
    "pgd(steps=100,restarts=5,loss=gap)",
    "fmn",
    "random_search",
    "hopskipjump",
    "boundary",
    "rays",
)
SUITES = {"quick": QUICK, "standard": STANDARD, "full": FULL}


class Chosen(NamedTuple):
    """What an evaluation runs: attacks in the sealed runner, and beside them what runs as released."""

    sealed: list[AttackSettings]
    released: list[PGDAsReleased]

    def suited(self, draws: int) -> list[AttackSettings]:
        """The sealed ones as they run where ``draws`` predictions score an image, each once."""
        return list({one.name: one for one in (attack.suited(draws) for attack in self.sealed)}.values())


def choose_attacks(names: str | Sequence[str], threat: ThreatModel) -> Chosen:
    """The attacks of the suites named (those that know the threat's norm) and those listed, cheapest first.

    This is the one place that tells the sealed from the unsealed; from here on they are apart.

    Raises:
        ReinforcedError: no sealed attack chosen, an unknown attack or option, or a listed attack that does
            not work under the threat.
    """
    listed = [names] if isinstance(names, str) else list(names)
    if not listed:
        raise ReinforcedError(f"no attacks chosen; give a suite ({', '.join(SUITES)}) or attack names")
    chosen: dict[str, AttackSettings] = {}
    for name in listed:
        for attack in parse_attacks(SUITES.get(name, (name,))):
            if threat.norm in attack.norms:
                chosen[attack.name] = attack
            elif name not in SUITES:
                raise ReinforcedError(
                    f"attack {attack.name}: does not work in {threat.norm}, only in {', '.join(attack.norms)}"
                )
    attacks = sorted(chosen.values(), key=lambda attack: attack.cost)
    released = [attack for attack in attacks if isinstance(attack, PGDAsReleased)]
    for attack in released:
        attack.check(threat)
    sealed = [attack for attack in attacks if not isinstance(attack, PGDAsReleased)]
    if not sealed:
        raise ReinforcedError(
            f"attack {released[0].name}: is only shown beside sealed attacks; name one too, such as pgd"
        )
    return Chosen(sealed, released)
