"""Attacks by name: ``pgd(steps=100,loss=margin)`` as typed on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydantic import ValidationError

from reinforced.attacks.apgd import APGD
from reinforced.attacks.autoattack import AutoAttack
from reinforced.attacks.base import AttackSettings
from reinforced.attacks.boundary import Boundary
from reinforced.attacks.ddn import DDN
from reinforced.attacks.fab import FAB
from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.fmn import FMN
from reinforced.attacks.hopskipjump import HopSkipJump
from reinforced.attacks.mifgsm import MIFGSM
from reinforced.attacks.pgd import PGD
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.random_search import RandomSearch
from reinforced.attacks.rays import RayS
from reinforced.attacks.square import Square
from reinforced.errors import ReinforcedError, did_you_mean

ATTACKS: dict[str, type[AttackSettings]] = {
    str(attack.model_fields["kind"].default): attack
    for attack in (
        FGSM,
        PGD,
        MIFGSM,
        APGD,
        FAB,
        Square,
        AutoAttack,
        FMN,
        DDN,
        RandomSearch,
        HopSkipJump,
        Boundary,
        RayS,
    )
}
"""Every attack that can be chosen by name. A new attack is one file and one name here."""

UNSEALED: dict[str, type[AttackSettings]] = {"pgd-as-released": PGDAsReleased}
"""What can be chosen like an attack, but is no attack of the sealed runner."""

_FORM = re.compile(r"\s*(?P<kind>[\w-]+)\s*(?:\((?P<options>.*)\))?\s*", re.DOTALL)


def parse_attack(text: str) -> AttackSettings:
    """An attack from ``kind`` or ``kind(option=value,...)``.

    Raises:
        ReinforcedError: another form, an unknown attack or option, or a value out of range.
    """
    form = _FORM.fullmatch(text)
    if form is None:
        raise ReinforcedError(f"attack {text!r}: write it as name or name(option=value,...)")
    kind = form["kind"]
    known_kinds = ATTACKS | UNSEALED
    if kind not in known_kinds:
        raise ReinforcedError(f"no attack {kind!r}{did_you_mean(kind, known_kinds)}")
    values = dict(_option(text, part) for part in (form["options"] or "").split(",") if part.strip())
    chosen = known_kinds[kind]
    try:
        return chosen.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            known = [name for name in chosen.model_fields if name != "kind"]
            raise ReinforcedError(
                f"attack {kind}: no option {option!r}{did_you_mean(option, known)}"
            ) from None
        where = f"attack {kind}: {option}" if option else f"attack {kind}"
        message = str(first.get("ctx", {}).get("error", first["msg"]))
        raise ReinforcedError(f"{where}: {message[0].lower()}{message[1:]}, got {first['input']!r}") from None


def parse_attacks(texts: Sequence[str]) -> list[AttackSettings]:
    """Several attacks; the same one twice counts once."""
    return list({attack.name: attack for attack in map(parse_attack, texts)}.values())


def _option(text: str, part: str) -> tuple[str, str | None]:
    name, equals, value = (piece.strip() for piece in part.partition("="))
    if not equals:
        raise ReinforcedError(f"attack {text!r}: {part.strip()!r} is no option; write option=value")
    return name, None if value.lower() == "none" else value
