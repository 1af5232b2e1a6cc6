"""Certificate: a proof that a claim rests on is computed again, and held against every verified example."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from reinforced.attacks.pgd_as_released import PGDAsReleased
from reinforced.attacks.spec import parse_attack
from reinforced.component import setting
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.certificate import certificates, certify
from reinforced.diagnostics.checks.base import Check
from reinforced.diagnostics.findings import Claim, Finding
from reinforced.diagnostics.statistics import Share, exceeds


class CertificateCheck(Check):
    """Randomised smoothing's certificate (Cohen et al. 2019, arXiv 1902.02918) from fresh noise.

    It proves something of one model alone, the majority vote of ``smoothed`` over the claim's noise. An image
    it covers at the claim's epsilon (in L-inf: at the L2 radius that holds the ball) defeats it where the
    diagnosed model misclassifies the image itself, or a verified example of any attack, the claimed one
    included. Runs last, when all examples are there.
    Cost: ``selection`` passes an image and 200 quick, 1,000 standard, 10,000 thorough.
    Fires: surely (exact test at ``level``) more than ``borne`` of the covered images are defeated, which the
    certificate's own error of 1 in 1,000 and a vote over few copies do not explain; a hint where it covers
    surely less than was stated.
    False positives: as a hint, for fewer copies than the claimant drew certify smaller radii.
    """

    name: ClassVar[str] = "certificate"

    selection: int = setting(100, "noisy copies that choose the class", ge=1, source="Cohen et al. 2019")
    quick: int = setting(200, "other copies that bound its share", ge=1)
    standard: int = setting(1000, "other copies that bound its share", ge=1)
    thorough: int = setting(10000, "other copies that bound its share", ge=1)
    borne: float = setting(0.02, "of the covered images, defeated all the same", ge=0, lt=1)
    level: float = setting(0.05, "of the test", gt=0, lt=1)

    def concerns(self, claim: Claim) -> bool:
        """Claims that rest on one."""
        return claim.certificate is not None

    def measure(self, case: Case) -> Finding:
        """See the class."""
        stated = case.claim.certificate
        assert stated is not None
        if stated.sigma is None:
            return self.cannot("Only certificates by randomised smoothing can be computed again here.")
        if case.smoothed is None:
            return self.cannot(
                "The network that is smoothed was not given, so that its certificate was not computed again."
            )
        copies = {"quick": self.quick, "standard": self.standard, "thorough": self.thorough}[case.budget]
        radius = case.threat.epsilon * (1 if case.threat.norm == "l2" else math.sqrt(case.images[0].numel()))
        furthest = certify(copies, copies, stated.sigma)
        if furthest < radius:
            return self.cannot(
                f"{copies:,} noisy copies certify an L2 radius of at most {furthest:.3g}, and the claim is "
                f"about {radius:.3g}."
            )
        found = certificates(
            case.smoothed,
            case.images,
            stated.sigma,
            seed=case.seed,
            selection=self.selection,
            samples=copies,
        )
        case.passes += len(case.images) * (self.selection + copies)
        covered = found.hold(case.labels, radius)
        # What the released procedure breaks may lie outside [0,1], and was checked by nothing.
        sealed = not isinstance(parse_attack(case.claim.attack), PGDAsReleased)
        broken = covered & (case.clean if sealed else case.claimed) & ~case.standing
        wrong = covered & ~case.clean
        share = Share(int(covered.sum()), len(covered))
        figures: dict[str, Any] = {
            "certified": share.count,
            "defeated": int(broken.sum()),
            "misclassified": int(wrong.sum()),
            "radius": radius,
            "copies": copies,
            "stated": stated.accuracy,
        }
        said = f"Computed again, it covers {share} of the images at an L2 radius of {radius:.3g}"
        against = Share(int((broken | wrong).sum()), share.count)
        if exceeds(against, self.borne) < self.level:
            return self.fires(
                "witness",
                f"{said}, but of these {share.count} the model misclassifies {figures['misclassified']} as "
                f"they are, and {figures['defeated']} in verified examples within that radius: it covers the "
                "majority vote over noise, and not this model.",
                witnesses=case.witnesses(broken),
                black_box=True,
                **figures,
            )
        said += f"; {against.count or 'none'} of these {share.count} are broken"
        if stated.accuracy is not None and stated.accuracy > share.interval[1]:
            return self.fires("heuristic", f"{said}; {stated.accuracy:.1%} was stated.", **figures)
        return self.silent(f"{said}; it speaks of the majority vote over noise alone.", **figures)
