"""The verdict on a claim: a pure function of what was measured and found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from reinforced.diagnostics.findings import GRADES, Claim, Finding, Measured
from reinforced.diagnostics.statistics import Gain, Share, exceeds, holm

Label = Literal["genuine", "overstated", "masked", "not-robust", "inconclusive"]

SIGNIFICANCE = 0.05
NEGLIGIBLE = 0.05
"""Points of accuracy: a gain that is surely at most this is none, a loss that is surely at most this is borne
by a genuine claim."""
NOTICEABLE = 0.02
"""A loss surely above this is more than attacks of one strength differ by."""
BLACK_BOX = 0.03
"""The most that attacks without gradients may break alone: more says that the gradients mislead."""
IMAGES = 500
"""The fewest images of a genuine claim."""


@dataclass(frozen=True)
class Verdict:
    """What is to be thought of a claim.

    Attributes:
        label: ``genuine`` (nothing speaks against it), ``overstated`` (some of it is not there), ``masked``
            (at least half of the gain is not there), ``not-robust`` (no gain over an undefended model), or
            ``inconclusive``.
        reason: one sentence.
        claimed: left by the claimed attack, as run here.
        residual: left of that by everything verified: the robustness that remains, whatever the label. Where
            nothing was ``examined``, the same as ``claimed``.
        loss: claimed, but broken by verified examples.
        control: of the undefended control under the claimed attack; ``None`` without one.
        gain: over the control; over nothing without one.
        evidence: the findings that fired, best grade first, those with most witnesses first.
        not_tested: what was not looked at, in words.
        examined: whether the checks were run, which a gain that is surely negligible does not need.
        images, passes, budget: what lies behind it.
    """

    claim: Claim
    label: Label
    reason: str
    claimed: Share
    residual: Share
    loss: Share
    control: Share | None
    gain: Gain
    evidence: tuple[Finding, ...]
    not_tested: tuple[str, ...]
    examined: bool
    images: int
    passes: int
    budget: str

    @property
    def paragraph(self) -> str:
        """What a person reads first."""
        stands = {
            "genuine": "stands",
            "overstated": "stands in part",
            "masked": "does not stand",
            "not-robust": "is no robustness",
            "inconclusive": "is open",
        }[self.label]
        claim = f"The claim of {self.claimed} under {self.claim.attack} at {self.claim.threat}"
        said = f": {self.residual} is left. {self.reason}" if self.examined else f". {self.reason}"
        return f"{self.label.upper()}. {claim} {stands}{said}{'' if self.examined else ' No check was run.'}"


def judge(claim: Claim, measured: Measured, findings: Sequence[Finding]) -> Verdict:
    """The verdict; the same inputs give the same verdict, and nothing else is looked at.

    Rules, in this order (docs/verdict.md explains each):

    1. not-robust: the gain over the control is at most 5 points, at 95 % confidence.
       The same where the gain is not surely more, and what is left of it is surely at most that.
       Where the claimed attack spares the control, the latter must be so too: of both under strong attacks.
    2. masked: verified witnesses take at least half of the gain, and more than 5 points (Holm, 95 %); where
       the claimed attack spares the control, no more than half of the gain is left under strong attacks.
    3. overstated: a smaller loss, above 2 points at 95 % and not surely below 5; or the claimed attack
       leaves less here than was claimed; or verified examples defeat the certificate claimed.
    4. inconclusive: a claim or attack that failed the lint and was not rerun; a failed control or a
       mechanism that no matching attack put a figure to; a budget or a control that was missing.
    5. genuine: 500 images, the full ensemble, a significant gain, over a control that is not surely more than
       5 points less accurate, of which surely something and more than half is left, more than a constant
       answer keeps, a loss of at most 5 points at 95 %, at most 3 points lost to attacks without gradients
       alone, and the binarisation test passed.
    """
    n = measured.images
    claimed, loss = Share(sum(measured.claimed), n), Share(sum(measured.witnessed), n)
    control = None if measured.control is None else Share(sum(measured.control), n)
    gain = measured.gain
    shown = measured.residual_gain if measured.weak else gain
    p_gain, p_loss = holm([shown.p, exceeds(loss, NEGLIGIBLE)])
    label, reason = _decide(claim, measured, findings, claimed, loss, gain, p_gain, p_loss)
    return Verdict(
        claim,
        label,
        reason,
        claimed,
        Share(claimed.count - loss.count, n),
        loss,
        control,
        gain,
        ranked(findings),
        not_tested(measured, findings),
        bool(findings),
        n,
        measured.passes,
        measured.budget,
    )


def _decide(
    claim: Claim,
    measured: Measured,
    findings: Sequence[Finding],
    claimed: Share,
    loss: Share,
    gain: Gain,
    p_gain: float,
    p_loss: float,
) -> tuple[Label, str]:
    against = _against(measured, findings, loss, gain, p_loss)
    if against is not None:
        return against
    if claim.accuracy is not None and claim.accuracy > claimed.interval[1]:
        return (
            "overstated",
            f"{100 * claim.accuracy:.1f} % was claimed; the same attack leaves {claimed} here.",
        )
    defeated = _defeated(claim, findings, Share(claimed.count - loss.count, measured.images))
    if defeated:
        return "overstated", defeated
    objections = _objections(measured, findings, loss, p_gain)
    if objections:
        return "inconclusive", objections[0]
    return "genuine", "The full ensemble, run here and verified, takes away no more than it may."


def _against(
    measured: Measured, findings: Sequence[Finding], loss: Share, gain: Gain, p_loss: float
) -> tuple[Label, str] | None:
    """What counting images says against the claim, if anything."""
    than = "an undefended model" if measured.control is not None else "a model without any robustness"
    left = measured.residual_gain
    if gain.upper <= NEGLIGIBLE and not measured.weak:
        return "not-robust", f"What the claimed attack leaves is {_at_most(gain.upper)} {than} keeps."
    if gain.lower <= NEGLIGIBLE and left.upper <= NEGLIGIBLE:
        return "not-robust", f"What is left after every check is {_at_most(left.upper)} {than} keeps."
    real = measured.weak and left.value > gain.value / 2
    if p_loss < SIGNIFICANCE and loss.value >= gain.value / 2 and not real:
        return "masked", f"{_witness(findings, loss)}{_cause(findings)}"
    if loss.bounds[0] > NOTICEABLE and loss.bounds[1] > NEGLIGIBLE:
        return "overstated", f"{_witness(findings, loss)}{_weakness(measured)}"
    return None


def _weakness(measured: Measured) -> str:
    """That the attack is to blame, and not the model, where it spares the control too."""
    if not measured.weak or measured.control is None or measured.control_left is None:
        return ""
    n = measured.images
    before, after = Share(sum(measured.control), n), Share(sum(measured.control_left), n)
    return (
        f" The claimed attack is weak: it leaves the undefended control {before}, "
        f"PGD-100 on the margin {after}."
    )


def _defeated(claim: Claim, findings: Sequence[Finding], residual: Share) -> str:
    """How verified examples contradict the proof that the claim rests on; empty where they do not."""
    if claim.certificate is None:
        return ""
    stated = claim.certificate.accuracy
    if stated is not None and stated > residual.interval[1]:
        return f"A certificate for {100 * stated:.1f} % was claimed; verified examples leave {residual}."
    for finding in findings:
        if finding.check == "certificate" and finding.grade == "witness":
            return f"The certificate is defeated. {finding.message}"
    return ""


def _at_most(points: float) -> str:
    return f"at most {100 * points:.1f} points more than" if points >= 0.0005 else "no more than"


def _witness(findings: Sequence[Finding], loss: Share) -> str:
    most = max(len(finding.witnesses) for finding in findings)
    # The first check that does nearly as well as the best one: it is the simplest.
    best = next(finding for finding in findings if len(finding.witnesses) >= 0.9 * most)
    return (
        f"{best.check} breaks {len(best.witnesses)} of the images that the claimed attack left, "
        f"all checks together {loss.count}."
    )


def _cause(findings: Sequence[Finding]) -> str:
    # A mechanism says why; a failed control only that something is wrong. Checks stand in the order in which
    # one explains the next: a gradient that is no slope, say, upsets whatever is computed from it.
    causes = [
        f for grade in ("mechanism", "failed control") for f in findings if f.fired and f.grade == grade
    ]
    return f" Cause: {causes[0].message}" if causes else " No cause was identified."


def _objections(measured: Measured, findings: Sequence[Finding], loss: Share, p_gain: float) -> list[str]:
    """What stands between a claim with nothing verified against it and ``genuine``, weightiest first."""
    found = {finding.check: finding for finding in findings}
    reasons = [
        f"{finding.check} is open: {finding.message}" for finding in unanswered(findings, measured.images)
    ]
    if measured.budget == "quick":
        reasons.append("Nothing was found; the quick budget cannot say more: run --budget standard.")
    if measured.control is None:
        reasons.append("No undefended control was given, so no gain is shown: give --control.")
    elif p_gain >= SIGNIFICANCE:
        reasons.append(f"The gain over the control is not significant (p = {p_gain:.2g}).")
    lead = measured.clean_lead
    if lead is not None and lead.lower > NEGLIGIBLE:
        reasons.append(
            f"Before any attack the control is right on {100 * lead.value:.1f} points fewer of the images: a "
            "gain over a model that has learned less shows nothing."
        )
    left, gain = measured.residual_gain, measured.gain
    if left.lower <= 0:
        reasons.append("What is left is not surely more than the control keeps.")
    elif not measured.weak and loss.value >= gain.value / 2:
        reasons.append(f"Verified examples take {loss} of the images, at least half of the gain.")
    stands = Share(sum(measured.claimed) - loss.count, measured.images)
    if stands.interval[0] <= measured.constant:
        reasons.append(
            f"One and the same answer to every image would keep {100 * measured.constant:.1f} %: "
            f"{stands} is not surely more."
        )
    if measured.images < IMAGES:
        reasons.append(f"{measured.images} images are fewer than {IMAGES}.")
    if not measured.ensemble:
        reasons.append("The full ensemble was not run.")
    if loss.bounds[1] > NEGLIGIBLE:
        reasons.append(
            f"Up to {100 * loss.bounds[1]:.1f} points may be lost, and 5 are borne: more images would tell."
        )
    alone = Share(sum(measured.black_box), measured.images)
    if alone.value > BLACK_BOX:
        reasons.append(f"Attacks without gradients alone break {alone} of the images: the gradients mislead.")
    binarisation = found.get("binarisation")
    if binarisation is None or binarisation.fired is None or binarisation.grade == "failed control":
        said = "it was not run." if binarisation is None else binarisation.message
        reasons.append(f"The binarisation test was not passed: {said}")
    return reasons


def unanswered(findings: Sequence[Finding], images: int) -> list[Finding]:
    """Failed controls and mechanisms that no matching attack has put a figure to.

    A mechanism with witnesses is its own matching attack, and they are in the loss. Any other finding is
    answered where its own witnesses and those of the attacks it names are surely more of the images than
    attacks of one strength differ by: a few found by chance say nothing of an outcome that cannot be.
    """
    found = {finding.check: finding for finding in findings}

    def answered(finding: Finding) -> bool:
        if finding.witnesses and finding.grade == "mechanism":
            return True
        broken = {row for name in finding.remedies if name in found for row in found[name].witnesses}
        broken.update(finding.witnesses)
        return Share(len(broken), images).bounds[0] > NOTICEABLE

    weighty = [f for f in ranked(findings) if f.grade in ("failed control", "mechanism")]
    return [finding for finding in weighty if not answered(finding)]


def ranked(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """The findings that fired, best grade first, then most witnesses."""
    fired = [finding for finding in findings if finding.fired and finding.grade is not None]
    return tuple(sorted(fired, key=lambda f: (GRADES.index(f.grade or "heuristic"), -len(f.witnesses))))


def not_tested(measured: Measured, findings: Sequence[Finding]) -> tuple[str, ...]:
    """What this verdict does not rest on, in words."""
    said = [f"{finding.check}: {finding.message}" for finding in findings if finding.fired is None]
    if measured.control is None:
        said.append("gain over an undefended control: none was given")
    if not findings:
        said.append("what is left: a gain of surely at most 5 points needs no check, and none was run")
    elif not measured.ensemble:
        said.append("the full ensemble (AutoAttack and more): needs --budget standard")
    said.append(
        f"images beyond these {measured.images}, other threats, and attacks made for this very defence"
    )
    return tuple(said)
