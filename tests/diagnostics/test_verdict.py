"""The rules of the verdict, each at its border."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reinforced.diagnostics.findings import Certificate, Claim, Finding, Grade, Measured
from reinforced.diagnostics.statistics import Gain, Share, exceeds, holm
from reinforced.diagnostics.verdict import Label, Verdict, judge, not_tested, ranked, unanswered

CLAIM = Claim.parse("pgd@linf:8/255")
PASSED = Finding("binarisation", False, "passed")
SILENT = Finding("one_step", False, "nothing")


def measured(
    claimed: int = 600,
    lost: int = 0,
    *,
    control: int | None = 0,
    images: int = 1000,
    alone: int = 0,
    ensemble: bool = True,
    budget: str = "standard",
    control_left: int | None = None,
    constant: float = 0.1,
) -> Measured:
    """``claimed`` images left by the claimed attack, ``lost`` witnessed, ``alone`` by black boxes only."""

    def first(count: int) -> tuple[bool, ...]:
        return tuple(row < count for row in range(images))

    against = None if control is None else first(control)
    left = None if control_left is None else first(control_left)
    return Measured(
        (True,) * images,
        first(claimed),
        against,
        first(lost),
        first(alone),
        ensemble,
        budget,
        10 * images,
        left,
        constant,
    )


def fired(check: str, grade: Grade, witnesses: int = 0, remedies: tuple[str, ...] = ()) -> Finding:
    return Finding(
        check, True, f"{check} speaks", grade, witnesses=tuple(range(witnesses)), remedies=remedies
    )


def verdict(found: Measured, *findings: Finding, claim: Claim = CLAIM) -> Verdict:
    return judge(claim, found, [PASSED, SILENT, *findings])


def breaking(count: int) -> Finding:
    return fired("loss_saturation", "witness", count)


@pytest.mark.parametrize(
    ("found", "label"),
    [
        (measured(600, 0), "genuine"),
        (measured(600, 400), "masked"),
        (measured(600, 100), "overstated"),
        (measured(230, 60, control=190), "not-robust"),  # a gain of 4 points, and less is left than it has
        (measured(300, 60, control=190), "overstated"),
        (measured(600, 0, control=None), "inconclusive"),
        (measured(300, 0, control=300), "not-robust"),
        # No gain comes first, whatever the witnesses.
        (measured(300, 250, control=300), "not-robust"),
        (measured(300, 0, control=600), "not-robust"),
    ],
)
def test_each_label_is_reached(found: Measured, label: Label) -> None:
    assert verdict(found, breaking(sum(found.witnessed))).label == label


def test_a_weak_claimed_attack_speaks_against_itself_and_not_against_the_model() -> None:
    """FGSM leaves the control 40 of 100 points that PGD takes: 57 claimed and 48 left are overstated."""
    found = measured(570, 90, control=400, control_left=0)
    assert found.weak
    reached = verdict(found, breaking(90))
    assert reached.label == "overstated"
    assert "The claimed attack is weak: it leaves the undefended control 40.0 %" in reached.reason
    assert verdict(measured(570, 90, control=400, control_left=395), breaking(90)).label == "masked"
    # Steps of nothing leave both what they have; what is left under real attacks tells them apart.
    nothing = measured(900, 420, control=920, control_left=0)
    assert verdict(nothing, breaking(420)).label == "overstated"
    assert verdict(measured(900, 890, control=920, control_left=0), breaking(890)).label == "not-robust"
    assert verdict(measured(600, 0, control=590, control_left=0)).label == "genuine"


def test_a_constant_answer_is_no_robustness() -> None:
    """Half of two classes' images are right whatever is done to them."""
    assert verdict(measured(500, constant=0.5)).label == "inconclusive"
    assert "One and the same answer" in verdict(measured(520, constant=0.5)).reason
    assert verdict(measured(600, constant=0.5)).label == "genuine"


def test_a_small_gain_of_which_half_is_gone_is_not_genuine() -> None:
    found = measured(900, 450, control=100, images=10_000, constant=0.0)
    assert found.residual_gain.upper < 0.05
    reached = verdict(found, breaking(450))
    assert reached.label == "inconclusive"
    assert "half of the gain" in reached.reason


@pytest.mark.parametrize(("images", "label"), [(1000, "not-robust"), (500, "genuine")])
def test_a_gain_of_nothing_needs_images_to_be_sure_of(images: int, label: Label) -> None:
    """3.5 points more: surely below 5 with 1,000 images, not with 500."""
    gain = round(0.035 * images)
    found = measured(images // 2 + gain, control=images // 2, images=images)
    assert (found.gain.upper <= 0.05) == (label == "not-robust")
    assert verdict(found).label == label


def test_half_of_the_gain_is_masked_and_less_is_overstated() -> None:
    assert verdict(measured(600, 300), breaking(300)).label == "masked"
    assert verdict(measured(600, 299), breaking(299)).label == "overstated"
    assert verdict(measured(600, 200, control=200), breaking(200)).label == "masked"


def test_half_of_a_gain_that_is_not_surely_above_five_points_is_not_masked() -> None:
    # 62 of 1,000 exceed 5 points at p < .05 alone, and with a clear gain beside it after Holm as well.
    sure = next(count for count in range(50, 100) if exceeds(Share(count, 1000), 0.05) < 0.05)
    assert verdict(measured(100, sure), breaking(sure)).label == "masked"
    assert verdict(measured(100, sure - 1), breaking(sure - 1)).label == "overstated"


def test_losses_between_two_and_five_points_are_overstated_where_five_may_be_exceeded() -> None:
    """Above 2 points at 95 %, and not surely below 5."""
    noticed = next(c for c in range(20, 60) if Share(c, 1000).bounds[0] > 0.02)
    borne = next(c for c in range(60, 20, -1) if Share(c, 1000).bounds[1] <= 0.05)
    assert noticed <= borne  # some losses are both noticed and borne
    assert verdict(measured(600, borne), breaking(borne)).label == "genuine"
    assert verdict(measured(600, borne + 1), breaking(borne + 1)).label == "overstated"


def test_a_figure_that_the_attack_does_not_give_here_is_overstated() -> None:
    assert verdict(measured(600), claim=replace(CLAIM, accuracy=0.62)).label == "genuine"
    higher = verdict(measured(600), claim=replace(CLAIM, accuracy=0.66))
    assert higher.label == "overstated"
    assert "66.0 % was claimed" in higher.reason
    assert verdict(measured(600), claim=replace(CLAIM, accuracy=0.3)).label == "genuine"


@pytest.mark.parametrize("grade", ["failed control", "mechanism", "heuristic"])
def test_nothing_but_witnesses_makes_a_claim_masked(grade: Grade) -> None:
    many = [fired(f"check{number}", grade) for number in range(10)]
    assert verdict(measured(600), *many).label == ("genuine" if grade == "heuristic" else "inconclusive")


@pytest.mark.parametrize("grade", ["failed control", "mechanism"])
def test_what_no_attack_answered_leaves_the_claim_open(grade: Grade) -> None:
    asked = fired("zero_gradients", grade, remedies=("bpda", "black_box"))
    assert verdict(measured(600), asked).label == "inconclusive"
    # A few images are what any other attack would find: 2 points at 95 % must be the matching attack's.
    assert verdict(measured(600, 5), asked, fired("bpda", "witness", 5)).label == "inconclusive"
    sure = next(count for count in range(20, 60) if Share(count, 1000).bounds[0] > 0.02)
    for count, label in ((sure, "genuine"), (sure - 1, "inconclusive")):
        assert verdict(measured(600, count), asked, fired("bpda", "witness", count)).label == label
    two = [fired("bpda", "witness", sure), replace(fired("black_box", "witness", 3), witnesses=(1, 2, 3))]
    assert verdict(measured(600, sure), asked, *two).label == "genuine"
    own = fired("zero_gradients", grade, witnesses=5)
    # A mechanism's witnesses are those of the attack that it calls for; an outcome that cannot be is not
    # explained by five images.
    assert verdict(measured(600, 5), own).label == ("genuine" if grade == "mechanism" else "inconclusive")
    elsewhere = verdict(measured(600, sure), asked, fired("transfer", "witness", sure))
    assert elsewhere.label == "inconclusive"
    assert elsewhere.reason.startswith("zero_gradients")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (measured(600, budget="quick"), "quick budget"),
        (measured(600, control=None), "No undefended control"),
        (measured(300, images=499), "fewer than 500"),
        (measured(600, ensemble=False), "ensemble was not run"),
        (measured(600, 31, alone=31), "Attacks without gradients alone"),
    ],
)
def test_what_keeps_a_claim_from_being_genuine(found: Measured, said: str) -> None:
    reached = verdict(found, fired("black_box", "witness", sum(found.witnessed)))
    assert reached.label == "inconclusive"
    assert said in reached.reason


def test_500_images_and_three_points_without_gradients_will_do() -> None:
    assert verdict(measured(300, images=500)).label == "genuine"
    assert verdict(measured(600, 30, alone=30), fired("black_box", "witness", 30)).label == "genuine"


@pytest.mark.parametrize("outcome", [None, True, "missing"])
def test_the_binarisation_test_must_have_been_passed(outcome: bool | str | None) -> None:
    there = []
    if not isinstance(outcome, str):
        there = [Finding("binarisation", outcome, "it says", "failed control" if outcome else None)]
    reached = judge(CLAIM, measured(600), [SILENT, *there])
    assert reached.label == "inconclusive"
    assert "binarisation" in reached.reason


def test_the_binarisation_test_is_the_strongest_attacks() -> None:
    weak = fired("binarisation", "heuristic")  # the claimed attack failed it, PGD with the margin loss passed
    assert judge(CLAIM, measured(600), [SILENT, weak]).label == "genuine"
    assert judge(CLAIM, measured(600, 100), [SILENT, weak, breaking(100)]).label == "overstated"


CERTIFIED = replace(CLAIM, certificate=Certificate("smoothing", 0.25))


def test_a_defeated_certificate_is_overstated_and_one_that_was_not_recomputed_is_untested() -> None:
    assert verdict(measured(600), claim=CERTIFIED).label == "genuine"
    defeated = verdict(measured(600, 5), fired("certificate", "witness", 5), claim=CERTIFIED)
    assert defeated.label == "overstated"
    assert defeated.reason == "The certificate is defeated. certificate speaks"
    unable = Finding("certificate", None, "The network was not given.")
    untested = verdict(measured(600), unable, claim=CERTIFIED)
    assert untested.label == "genuine"
    assert untested.not_tested[0] == "certificate: The network was not given."
    # Half of the gain lost is worse.
    assert (
        verdict(measured(600, 400), breaking(400), fired("certificate", "witness", 9), claim=CERTIFIED).label
        == "masked"
    )


def test_no_certificate_covers_more_than_what_is_left() -> None:
    for accuracy, label in ((0.6, "genuine"), (0.66, "overstated")):
        said = replace(CLAIM, certificate=Certificate("other", accuracy=accuracy))
        assert verdict(measured(600), claim=said).label == label
    assert "66.0 %" in verdict(measured(600), claim=said).reason


def test_a_gain_that_is_not_significant_is_not_genuine() -> None:
    # 40 against 25 discordant images of 500: 3 points, upper bound above 5, p = .04, after Holm .08.
    ours, theirs, images = 40, 25, 500
    claimed = tuple(row < ours for row in range(images))
    control = tuple(ours <= row < ours + theirs for row in range(images))
    none = (False,) * images
    found = Measured((True,) * images, claimed, control, none, none, True, "standard", 0)
    assert found.gain.p < 0.05 < holm([found.gain.p, 1.0])[0]
    reached = verdict(found)
    assert reached.label == "inconclusive"
    assert "not significant" in reached.reason


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm([0.01, 0.04]) == pytest.approx([0.02, 0.04])
    assert holm([0.04, 0.03]) == pytest.approx([0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_the_gain_pairs_images() -> None:
    assert measured(600, control=200).gain == Gain(400, 0, 1000)
    assert measured(600, control=None).gain.value == 0.6
    assert Gain(8, 0, 10).p == pytest.approx(0.5**8)
    assert Gain(0, 0, 10).p == 1


def test_evidence_is_ranked_by_grade_then_witnesses() -> None:
    order = [
        fired("d", "heuristic", 9),
        fired("b", "witness", 1),
        fired("c", "mechanism", 3),
        fired("a", "witness", 2),
        SILENT,
    ]
    assert [finding.check for finding in ranked(order)] == ["a", "b", "c", "d"]
    assert [finding.check for finding in unanswered([fired("x", "mechanism"), *order], 1000)] == ["x"]


def test_a_masked_verdict_names_its_best_witness_and_its_cause() -> None:
    cause = fired("attack_lint", "mechanism", 400)
    reached = verdict(measured(600, 500), cause, breaking(450))
    assert reached.reason.startswith("loss_saturation breaks 450")
    assert reached.reason.endswith("Cause: attack_lint speaks")
    assert "No cause" in verdict(measured(600, 500), breaking(450)).reason


def test_nothing_is_said_to_be_left_where_no_check_was_run() -> None:
    found = judge(CLAIM, measured(30, control=10), [])
    assert (found.label, found.examined) == ("not-robust", False)
    assert "is left" not in found.paragraph
    assert found.paragraph.endswith(f"{found.reason} No check was run.")
    assert found.not_tested[0].endswith("no check, and none was run")
    assert not any("--budget" in one for one in found.not_tested)
    examined = verdict(measured(30, control=10), breaking(5))
    assert examined.examined
    assert f"{examined.residual} is left. {examined.reason}" in examined.paragraph


@pytest.mark.parametrize(("right", "label"), [(1000, "genuine"), (960, "genuine"), (900, "inconclusive")])
def test_a_control_that_has_learned_less_shows_no_gain(right: int, label: Label) -> None:
    found = verdict(replace(measured(600), control_clean=tuple(row < right for row in range(1000))))
    assert found.label == label
    if label == "inconclusive":
        assert "10.0 points fewer" in found.reason


def test_what_was_not_tested_is_said() -> None:
    unable = Finding("bpda", None, "needs gradients")
    said = not_tested(measured(600, control=None, ensemble=False), [unable])
    assert said[0] == "bpda: needs gradients"
    assert any("control" in one for one in said)
    assert any("ensemble" in one for one in said)
    assert "1000" in said[-1]


def test_the_same_inputs_give_the_same_verdict_and_its_figures_add_up() -> None:
    found = measured(600, 100)
    one, other = (verdict(found, breaking(100)) for _ in range(2))
    assert one == other
    assert (one.claimed.count, one.loss.count, one.residual.count) == (600, 100, 500)
    assert one.control == Share(0, 1000)
    assert one.paragraph.startswith("OVERSTATED. The claim of 60.0 %")
