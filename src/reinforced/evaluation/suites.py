"""Named sets of attacks."""

from __future__ import annotations

from collections.abc import Sequence

from reinforced.attacks.base import AttackSettings
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


def choose_attacks(names: str | Sequence[str], threat: ThreatModel) -> list[AttackSettings]:
    """The attacks of a suite (those that know the threat's norm), or the ones listed, cheapest first.

    Raises:
        ReinforcedError: nothing chosen, an unknown attack or option, or a listed attack without the norm.
    """
    listed = [names] if isinstance(names, str) else list(names)
    if not listed:
        raise ReinforcedError(f"no attacks chosen; give a suite ({', '.join(SUITES)}) or attack names")
    suite = SUITES.get(listed[0]) if len(listed) == 1 else None
    attacks = parse_attacks(suite or listed)
    if suite:
        attacks = [attack for attack in attacks if threat.norm in attack.norms]
    for attack in attacks:
        if threat.norm not in attack.norms:
            raise ReinforcedError(
                f"attack {attack.name}: does not work in {threat.norm}, only in {', '.join(attack.norms)}"
            )
    return sorted(attacks, key=lambda attack: attack.cost)
