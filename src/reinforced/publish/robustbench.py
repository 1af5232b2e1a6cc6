"""Records in the manner of RobustBench's ``model_info`` (https://github.com/RobustBench/robustbench)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from reinforced.publish.entries import DOES_NOT_HOLD, NOT_VERIFIED, Entry
from reinforced.report.reading import mapping, text
from reinforced.report.verdicts import stated

_NORMS = {"linf": "Linf", "l2": "L2"}
_OVERCLAIMED = ("overstated", "masked")


def robustbench(reported: Sequence[Entry]) -> list[dict[str, Any]]:
    """A record an evaluation, with RobustBench's fields and these differences.

    Accuracies are numbers in percent, ``None`` where there is none; ``threat_model``, ``images``,
    ``worst_case_acc`` (over all attacks, per image) with its ``interval``, ``reverified`` and ``verdict`` are
    added. ``link``, ``authors`` and ``venue`` are ``None``: only the author knows them.
    """
    return [_record(entry) for entry in reported]


def _record(entry: Entry) -> dict[str, Any]:
    found, model = entry.evaluation, mapping(entry.run.recipe, "model")
    norm, _, epsilon = found.threat.partition(":")
    doubts = list(entry.doubts)
    doubts += [f"{attack.name}: {flag}" for attack in found.attacks for flag in attack.flags]
    doubts += [
        f"{verdict.claim} was judged {verdict.label}"
        for verdict in entry.verdicts
        if verdict.label in _OVERCLAIMED and stated(verdict.claim)[0] == found.threat
    ]
    remark = ["its adversarial examples were not verified again"] * (entry.verification == NOT_VERIFIED)
    return {
        "link": None,
        "name": entry.model,
        "authors": None,
        "additional_data": bool(model.get("pretrained") or model.get("weights")),
        "number_forward_passes": 1,
        "dataset": entry.data,
        "venue": None,
        "architecture": text(model, "name"),
        "eps": epsilon,
        "clean_acc": _percent(found.clean_accuracy),
        "reported": _claimed(entry),
        "autoattack_acc": _percent(found.autoattack_accuracy),
        "unreliable": bool(doubts),
        "footnote": "; ".join([*doubts, *remark]) or None,
        "threat_model": _NORMS.get(norm, norm),
        "images": found.images,
        "skip": found.skip,
        "worst_case_acc": _percent(found.robust_accuracy),
        "interval": [_percent(bound) for bound in found.interval],
        "reverified": {"yes": True, NOT_VERIFIED: None, DOES_NOT_HOLD: False}[entry.verification],
        "verdict": entry.verdict or None,
    }


def _claimed(entry: Entry) -> float | None:
    """The accuracy that a judged claim on this threat states in so many words."""
    for verdict in entry.verdicts:
        threat, accuracy = stated(verdict.claim)
        if accuracy and threat == entry.evaluation.threat:
            return float(accuracy.removesuffix("%"))
    return None


def _percent(share: float) -> float | None:
    return round(100 * share, 2) if math.isfinite(share) else None
