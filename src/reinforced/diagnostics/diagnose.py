"""From a model and a claim to a verdict: run the claim, run the checks, keep all of it, judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics.case import BUDGETS, Budget, Case, Runner
from reinforced.diagnostics.checks import CHECKS
from reinforced.diagnostics.findings import Claim, Finding, Measured
from reinforced.diagnostics.kept import Kept
from reinforced.diagnostics.reproduction import STRONG, Against, reproduce, strongly
from reinforced.diagnostics.verdict import NEGLIGIBLE, Verdict, judge
from reinforced.errors import Interrupted, ReinforcedError, did_you_mean
from reinforced.evaluation.answers import answers, bind_answers
from reinforced.evaluation.identity import claim_folder, data_sha256, model_sha256, writing
from reinforced.evaluation.preflight import preflight
from reinforced.files import write_json

Told = Callable[[str], None]
"""Images whose logits tell whether a folder's diagnosis is of this very model."""


@dataclass(frozen=True)
class Diagnosis:
    """A verdict with everything it rests on."""

    verdict: Verdict
    measured: Measured
    findings: tuple[Finding, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, shares with their intervals."""
        verdict = self.verdict
        shares = {
            name: None
            if (share := getattr(verdict, name)) is None
            else {"count": share.count, "share": share.value, "interval": list(share.interval)}
            for name in ("claimed", "residual", "loss", "control")
        }
        return {
            "claim": str(verdict.claim),
            "label": verdict.label,
            "paragraph": verdict.paragraph,
            "reason": verdict.reason,
            **shares,
            "control_left": None
            if self.measured.control_left is None
            else {"attack": STRONG.name, "count": sum(self.measured.control_left)},
            "gain": {"share": verdict.gain.value, "upper": verdict.gain.upper, "p": verdict.gain.p},
            "examined": verdict.examined,
            "images": verdict.images,
            "passes": verdict.passes,
            "budget": verdict.budget,
            "not_tested": list(verdict.not_tested),
            "findings": [asdict(finding) for finding in self.findings],
        }


def diagnose(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: ThreatModel | None = None,
    *,
    claim: Claim | str,
    control: nn.Module | None = None,
    surrogates: Mapping[str, nn.Module] | None = None,
    smoothed: nn.Module | None = None,
    budget: Budget = "standard",
    seed: int = 0,
    out: Path | None = None,
    told: Told | None = None,
    run: Runner = run_attack,
) -> Diagnosis:
    """Judge a robustness claim about any module.

    The claimed attack is run first, on the model and on the control; then every check of the budget, each
    adding verified examples to the witnesses; then :func:`~reinforced.diagnostics.verdict.judge`. A gain that
    is surely below 5 points needs no checks. Everything done is kept in ``out`` and not done again.

    Args:
        model: [0,1] images (N, C, H, W) to logits (N, K), in eval mode; left as it was.
        images, labels: (N, C, H, W) float32 in [0,1] and (N,) int64: the claim's test images.
        threat: for a claim without one (``"pgd"``).
        claim: ``pgd@l2:1.0``, or a :class:`~reinforced.diagnostics.findings.Claim`.
        control: an undefended model of the same task: without it no claim can be found genuine.
        surrogates: more models to transfer from, by name; the control is one too.
        smoothed: the network, without noise, that a claim ``certified smoothing:SIGMA`` is about: without it
            the certificate is not recomputed.
        budget: ``quick`` (no AutoAttack, can say all but genuine), ``standard`` or ``thorough``.
        seed: of every draw.
        out: the diagnosis's folder; a temporary one if left out.
        told: called with the name of each part as it begins.
        run: what runs attacks; one that shares their chunks out gives the same verdict.

    Raises:
        ReinforcedError: bad inputs, an unreadable claim, or a folder that holds another diagnosis.
    """
    if budget not in BUDGETS:
        raise ReinforcedError(f"no budget {budget!r}{did_you_mean(budget, BUDGETS)}")
    stated = check_claim(claim, threat)
    if smoothed is not None and (stated.certificate is None or stated.certificate.kind != "smoothing"):
        raise ReinforcedError(
            f"claim {stated}: a smoothed network was given; say so in the claim: certified smoothing:SIGMA"
        )
    if control is not None and "control" in (surrogates or {}):
        raise ReinforcedError("a surrogate is called control, as the control is; name it otherwise")
    checked = preflight(model, images, labels, [])
    told = told or _silent
    with ExitStack() as stack:
        kept = Kept(out or Path(stack.enter_context(TemporaryDirectory())))
        setup = _setup(stated, model, images, labels, control, surrogates or {}, smoothed, budget, seed)
        stack.enter_context(writing(kept.folder))
        claim_folder(kept.folder, setup, "diagnosis")
        if not checked.randomised:
            bind_answers(kept.folder, answers(model, images, stated.threat), "diagnosis")
        told("the claimed attack")
        outcome = kept.outcome()
        if outcome is None:
            outcome = reproduce(stated, model, control, images, labels, checked, seed, run)
            kept.keep_outcome(outcome)
        case = Case(
            model,
            images.cpu(),
            labels.cpu(),
            stated,
            outcome["clean"],
            outcome["claimed"],
            checked,
            control,
            {**(surrogates or {}), **({"control": control} if control is not None else {})},
            budget,
            seed,
            smoothed,
            run,
        )
        case.passes += int(outcome["passes"])
        against = None
        if control is not None:
            standing = outcome["control"]
            against = Against(outcome["control_clean"], standing, _spared(case, standing, kept, told))
        findings: list[Finding] = []
        begun = _measured(case, findings, against)
        if begun.gain.upper > NEGLIGIBLE or begun.weak:
            findings = _examine(case, kept, told)
        measured = _measured(case, findings, against)
        diagnosis = Diagnosis(judge(stated, measured, findings), measured, tuple(findings))
        write_json(kept.folder / "verdict.json", diagnosis.to_json())
        return diagnosis


def check_claim(claim: Claim | str, threat: ThreatModel | None = None) -> Claim:
    """The claim, whose attack exists and works under its threat.

    Raises:
        ReinforcedError: it does not.
    """
    if isinstance(claim, str):
        claim = Claim.parse(claim if "@" in claim or threat is None else f"{claim}@{threat}")
    if threat is not None and threat != claim.threat:
        raise ReinforcedError(f"claim {claim}: is not of {threat}; give one threat")
    attack = parse_attack(claim.attack)
    if isinstance(attack, PGDAsReleased):
        attack.check(claim.threat)
    elif claim.threat.norm not in attack.norms:
        raise ReinforcedError(
            f"claim {claim}: {attack.name} does not work in {claim.threat.norm}, only in "
            f"{', '.join(attack.norms)}"
        )
    return claim


def _setup(
    claim: Claim,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    control: nn.Module | None,
    surrogates: Mapping[str, nn.Module],
    smoothed: nn.Module | None,
    budget: Budget,
    seed: int,
) -> dict[str, Any]:
    setup = {
        "claim": str(claim),
        "model_sha256": model_sha256(model),
        "data_sha256": data_sha256(images, labels),
        "control_sha256": None if control is None else model_sha256(control),
        "surrogates": {name: model_sha256(surrogate) for name, surrogate in sorted(surrogates.items())},
        "budget": budget,
        "seed": seed,
        "checks": [check.name for check in CHECKS if check().runs_in(budget) and check().concerns(claim)],
    }
    if claim.certificate is not None:
        setup["smoothed_sha256"] = None if smoothed is None else model_sha256(smoothed)
    return setup


def _silent(part: str) -> None:
    """Tell nobody."""


def _spared(case: Case, standing: Tensor, kept: Kept, told: Told) -> Tensor:
    """What PGD-100 on the margin leaves of the control's images that the claimed attack left: (N,) bool."""
    known = kept.control()
    if known is None:
        told("the control")
        known = strongly(case, standing)
        kept.keep_control(*known)
    left, passes = known
    case.passes += passes
    return left


def _examine(case: Case, kept: Kept, told: Told) -> list[Finding]:
    """Every check of the budget, from disk where it has been done."""
    findings = []
    for kind in CHECKS:
        check = kind()
        if not (check.runs_in(case.budget) and check.concerns(case.claim)):
            continue
        told(check.name)
        stored = kept.finding(check.name)
        if stored is None:
            known, before = set(case.examples), case.passes
            failed = True  # is not kept: what ran out of memory once may not the next time
            try:
                found = check.measure(case)
                failed = False
            except Interrupted:
                raise
            except ReinforcedError as error:  # an attack that does not take such images or classes
                found = check.cannot(str(error))
            except Exception as error:
                found = check.failed(error)
            fresh = {row: image for row, image in case.examples.items() if row not in known}
            if failed:  # what it had broken by then is broken
                found = replace(found, witnesses=tuple(row for row in sorted(fresh) if case.claimed[row]))
            finding = replace(found, passes=case.passes - before)
            if not failed:
                kept.keep_finding(finding, fresh, tuple(case.images.shape[1:]))
        else:
            finding, fresh = stored
            case.examples |= fresh
            case.passes += finding.passes
        findings.append(finding)
    return findings


def _measured(case: Case, findings: Sequence[Finding], control: Against | None) -> Measured:
    witnessed = case.claimed & ~case.standing
    by_gradients = torch.zeros_like(witnessed)
    for finding in findings:
        if not finding.black_box:
            by_gradients[list(finding.witnesses)] = True
    return Measured(
        tuple(case.clean.tolist()),
        tuple(case.claimed.tolist()),
        None if control is None else tuple(control.claimed.tolist()),
        tuple(witnessed.tolist()),
        tuple((witnessed & ~by_gradients).tolist()),
        any(finding.check == "ensemble" and finding.fired is not None for finding in findings),
        case.budget,
        case.passes,
        None if control is None else tuple(control.left.tolist()),
        float(case.labels.bincount().max() / len(case.labels)),
        None if control is None else tuple(control.clean.tolist()),
    )
