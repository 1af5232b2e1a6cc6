"""From a model and a claim to a verdict on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reinforced.attacks.base import run_attack
from reinforced.attacks.fgsm import FGSM
from reinforced.attacks.threat import ThreatModel
from reinforced.diagnostics import diagnose as module
from reinforced.diagnostics.case import Case
from reinforced.diagnostics.checks.certificate import CertificateCheck
from reinforced.diagnostics.checks.loss_saturation import LossSaturation
from reinforced.diagnostics.checks.zero_gradients import ZeroGradients
from reinforced.diagnostics.diagnose import Diagnosis, diagnose
from reinforced.diagnostics.findings import Certificate, Claim
from reinforced.errors import ReinforcedError
from reinforced.evaluation.identity import writing

Data = tuple[Tensor, Tensor]
CLAIM = "pgd(steps=5)@linf:0.05"


class Bands(nn.Module):
    """Four classes, told by which quarter of the image is brightest; ``scale`` times that as logits."""

    def __init__(self, scale: float = 20.0, noise: float = 0.0, *, labels: bool = False) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))
        self.noise, self.labels = noise, labels

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.noise * torch.randn_like(x) if self.noise else x
        logits = self.scale * x.reshape(-1, 8, 4, 2).mean(dim=(1, 3))
        return F.one_hot(logits.argmax(dim=1), 4).float() if self.labels else logits


@pytest.fixture(scope="module")
def data() -> Data:
    """60 images whose leads of .02 to .3 epsilon 0.05 breaks in part: all below .1."""
    labels = torch.arange(60) % 4
    images = torch.full((60, 1, 8, 8), 0.4)
    for row, lead in enumerate(torch.linspace(0.02, 0.3, 60)):
        images[row, :, :, 2 * labels[row] : 2 * labels[row] + 2] += lead
    return images, labels


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checks are enough to see how they are run."""
    monkeypatch.setattr(module, "CHECKS", (ZeroGradients, LossSaturation))


def judged(data: Data, model: nn.Module | None = None, **options: Any) -> Diagnosis:
    given: dict[str, Any] = {"claim": CLAIM, "control": Bands(-1.0).eval(), "budget": "quick", **options}
    return diagnose(model or Bands().eval(), *data, **given)


def test_the_claimed_attack_leaves_what_it_must(data: Data) -> None:
    found = judged(data)
    leads = torch.linspace(0.02, 0.3, 60)
    assert found.verdict.claimed.count == int((leads > 0.1).sum())
    assert found.verdict.loss.count == 0
    assert found.verdict.residual == found.verdict.claimed
    assert [finding.check for finding in found.findings] == ["zero_gradients", "loss_saturation"]
    assert found.verdict.label == "inconclusive"  # quick, and few images


def test_a_confident_model_is_seen_through(data: Data) -> None:
    found = judged(data, Bands(1e5).eval())
    assert found.verdict.claimed.count == 60
    assert found.verdict.loss.count > 10
    witnessed = tuple(row for row, seen in enumerate(found.measured.witnessed) if seen)
    assert found.verdict.evidence[0].witnesses == witnessed


def test_a_second_call_does_nothing_new_and_says_the_same(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Bands(1e5).eval()
    first = judged(data, model, out=tmp_path)
    written = (tmp_path / "verdict.json").read_bytes()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")}
    assert len(made) == 5

    def never(*_: object, **__: object) -> None:
        raise AssertionError("attacked again")

    monkeypatch.setattr("reinforced.diagnostics.case.run_attack", never)
    monkeypatch.setattr("reinforced.diagnostics.reproduction.run_attack", never)
    assert judged(data, model, out=tmp_path) == first
    assert (tmp_path / "verdict.json").read_bytes() == written
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.npz")} == made


def test_a_diagnosis_that_stopped_goes_on(data: Data, tmp_path: Path) -> None:
    model = Bands(1e5).eval()
    whole = judged(data, model, out=tmp_path / "whole")
    judged(data, model, out=tmp_path / "part")
    (tmp_path / "part" / "loss_saturation.npz").unlink()
    assert judged(data, model, out=tmp_path / "part") == whole


@pytest.mark.parametrize("change", ["claim", "seed", "budget", "control", "model", "data"])
def test_the_folder_of_another_diagnosis_is_refused(data: Data, tmp_path: Path, change: str) -> None:
    judged(data, out=tmp_path)
    others: dict[str, Any] = {"claim": "pgd@linf:0.05", "seed": 1, "budget": "standard", "control": None}
    model = Bands(21.0).eval() if change == "model" else None
    given = (data[0] * 0.9, data[1]) if change == "data" else data
    with pytest.raises(ReinforcedError, match="another diagnosis"):
        judged(given, model, out=tmp_path, **({change: others[change]} if change in others else {}))


def test_a_model_that_fails_under_a_check_leaves_it_open(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("one of the variables\nhas been modified")

    with monkeypatch.context() as patched:
        patched.setattr(LossSaturation, "measure", fail)
        found = judged(data, out=tmp_path)
    (left_open,) = (finding for finding in found.findings if finding.check == "loss_saturation")
    assert (left_open.fired, left_open.grade) == (True, "failed control")
    assert "RuntimeError: one of the variables has been modified" in left_open.message
    assert judged(data, out=tmp_path) == judged(data)


def test_the_folder_of_a_model_of_other_code_is_refused(data: Data, tmp_path: Path) -> None:
    """Its weights are the same, its forward pass is not."""

    class Sharper(Bands):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    class Rounding(Bands):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward((x * 255).round() / 255)

    on_grid = ((data[0] * 255).round() / 255, data[1])  # where rounding changes nothing
    judged(on_grid, Bands().eval(), out=tmp_path)
    for changed in (Sharper(), Rounding()):
        with pytest.raises(ReinforcedError, match="answers otherwise"):
            judged(on_grid, changed.eval(), out=tmp_path)


def test_the_control_is_known_before_any_attack(data: Data, tmp_path: Path) -> None:
    class Untrained(Bands):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).roll(1, 1)

    found = judged(data, control=Untrained().eval(), out=tmp_path)
    assert found.measured.control_clean == (False,) * 60
    lead = found.measured.clean_lead
    assert lead is not None
    assert lead.value == 1
    assert judged(data, control=Untrained().eval(), out=tmp_path) == found
    assert judged(data, control=None).measured.clean_lead is None


def test_a_damaged_folder_is_named(data: Data, tmp_path: Path) -> None:
    (tmp_path / "setup.json").write_text("{", encoding="utf-8")
    with pytest.raises(ReinforcedError, match="damaged"):
        judged(data, out=tmp_path)


@pytest.mark.parametrize(
    ("text", "attack", "threat", "accuracy"),
    [
        ("pgd@l2:1.0", "pgd", ThreatModel("l2", 1.0), None),
        (" pgd(steps=50)@linf:8/255=55%", "pgd(steps=50)", ThreatModel("linf", 8 / 255), 0.55),
        ("pgd-as-released@l2:3.5=0.25", "pgd-as-released", ThreatModel("l2", 3.5), 0.25),
        ("autoattack@linf:4/255=0", "autoattack", ThreatModel("linf", 4 / 255), 0.0),
        ("pgd@l2:0.5=55% certified smoothing:0.25=40%", "pgd", ThreatModel("l2", 0.5), 0.55),
    ],
)
def test_claims_are_read(text: str, attack: str, threat: ThreatModel, accuracy: float | None) -> None:
    claim = Claim.parse(text)
    assert (claim.attack, claim.threat, claim.accuracy) == (attack, threat, accuracy)
    assert Claim.parse(str(claim)) == claim


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pgd", "ATTACK@THREAT"),
        ("pgd@l2", "no colon"),
        ("pgd@l2:1=many", "is no accuracy"),
        ("pgd@l2:1=55", "did you mean 55%"),
        ("pgd@linf:8=50%", "linf:8/255"),
        ("pgd@l2:1 certified smothing:0.25", "did you mean 'smoothing'"),
        ("pgd@l2:1 certified smoothing", "smoothing:SIGMA"),
        ("pgd@l2:1 certified smoothing:-1", "positive sigma"),
        ("pgd@l2:1 certified other:0.3", "smoothing:SIGMA"),
        ("pgd@l2:1 certified other:-1", "smoothing:SIGMA"),
        ("pgd@l2:1 certified smoothing:much", "smoothing:0.25"),
        ("pgd@l2:1 certified other=55", "did you mean 55%"),
    ],
)
def test_unreadable_claims_say_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ReinforcedError) as error:
        Claim.parse(text)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"claim": "pdg@linf:0.05"}, "did you mean"),
        ({"claim": "rays@l2:0.5"}, "does not work in l2"),
        ({"claim": "pgd-as-released(step=0.2)@linf:0.1"}, "step"),
        ({"claim": "pgd"}, "ATTACK@THREAT"),
        ({"budget": "quik"}, "quick"),
        ({"smoothed": Bands()}, "certified smoothing:SIGMA"),
        ({"threat": ThreatModel("linf", 0.3)}, "is not of linf:0.3; give one threat"),
        ({"surrogates": {"control": Bands().eval()}}, "a surrogate is called control"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(data: Data, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ReinforcedError) as error:
        judged(data, **options)
    assert said in str(error.value)


def test_a_threat_beside_the_claim_completes_it(data: Data) -> None:
    found = judged(data, claim="pgd(steps=5)", threat=ThreatModel("linf", 0.05))
    assert found.verdict.claim == Claim.parse(CLAIM)


def test_passes_hold_the_runners_own_predictions(data: Data) -> None:
    # FGSM on 60 images: a step and its end are 3 passes, the runner predicts before and after; before that
    # it found out which images are right, by "attacking" with the images themselves.
    right = 60
    found = judged(data, claim="fgsm@linf:0.05", control=None)
    spent = found.measured.passes - sum(finding.passes for finding in found.findings)
    attack = run_attack(FGSM(), Bands().eval(), *data, ThreatModel("linf", 0.05), seed=0)
    assert attack.predictions == 60 + right
    assert spent == (60 + right) + attack.forwards + attack.gradients + (60 + right)


def test_certificates_are_examined_where_one_is_claimed(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECKS", (ZeroGradients, CertificateCheck))
    claim = "pgd(steps=5)@l2:0.1"
    plain = judged(data, claim=claim, out=tmp_path / "plain")
    assert [finding.check for finding in plain.findings] == ["zero_gradients"]
    certified = judged(data, claim=f"{claim} certified smoothing:0.1", smoothed=Bands(), out=tmp_path / "c")
    assert [finding.check for finding in certified.findings] == ["zero_gradients", "certificate"]
    assert certified.verdict.claim.certificate == Certificate("smoothing", 0.1)
    with pytest.raises(ReinforcedError, match="another diagnosis"):
        judged(data, claim=f"{claim} certified smoothing:0.1", smoothed=Bands(2.0), out=tmp_path / "c")


def test_what_a_killed_writer_left_goes_but_nobody_elses(data: Data, tmp_path: Path) -> None:
    left = tmp_path / ".loss_saturation.npz.x1.part"
    left.touch()
    with writing(tmp_path):
        assert not left.exists()
        left.touch()
        judged(data, out=tmp_path)  # another writer is at work: it may be its file
        assert left.exists()
    judged(data, out=tmp_path)
    assert not left.exists()


def test_a_model_of_labels_alone_leaves_gradient_checks_untested(data: Data) -> None:
    found = judged(data, Bands(labels=True).eval())
    assert found.verdict.claimed.count == 60  # its attack breaks nothing, as the claimant found
    assert [finding.fired for finding in found.findings] == [None, None]
    assert found.verdict.not_tested[0].startswith("zero_gradients")
    assert found.verdict.label == "inconclusive"


def test_a_randomised_model_is_judged_by_majorities(data: Data) -> None:
    model = Bands(noise=0.05).eval()
    before = torch.get_rng_state()
    found = judged(data, model, claim="pgd(steps=2,eot=2)@linf:0.05")
    assert torch.equal(torch.get_rng_state(), before)
    assert 0 < found.verdict.claimed.count < 60
    assert judged(data, model, claim="pgd(steps=2,eot=2)@linf:0.05") == found


def test_the_released_attack_is_run_as_it_was(data: Data) -> None:
    found = judged(data, Bands(1e3).eval(), claim="pgd-as-released(step=0.1)@l2:0.2")
    assert found.verdict.claimed.count > 50
    assert found.verdict.loss.count > 0


def test_an_attack_that_spares_the_control_ends_nothing_early(data: Data) -> None:
    """Steps of nothing leave both models all they have: that both have as much is no finding."""
    still = judged(data, control=Bands().eval(), claim="pgd(steps=1,step=1e-6,random_start=false)@linf:0.05")
    assert still.measured.weak
    assert still.findings


def test_attacks_that_do_not_take_such_a_model_are_untested(
    data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ReinforcedError("square: needs images of another size")

    monkeypatch.setattr(LossSaturation, "measure", refuse)
    found = judged(data)
    assert any("loss_saturation: square: needs images" in said for said in found.verdict.not_tested)


def test_what_a_failing_check_had_broken_is_broken(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = LossSaturation.measure

    def late(check: LossSaturation, case: Case) -> None:
        whole(check, case)
        raise ReinforcedError("autoattack: needs at least 4 classes")

    monkeypatch.setattr(LossSaturation, "measure", late)
    found = judged(data, Bands(1e5).eval())
    (finding,) = (one for one in found.findings if one.check == "loss_saturation")
    assert finding.fired is None
    assert len(finding.witnesses) == found.verdict.loss.count > 0


def test_the_released_attack_on_a_randomised_model_is_refused(data: Data) -> None:
    with pytest.raises(ReinforcedError, match="predicts once, which proves nothing on a randomised model"):
        judged(data, Bands(noise=0.02).eval(), claim="pgd-as-released@l2:0.5")


def test_a_model_without_gradients_survives_what_needs_them(data: Data) -> None:
    found = judged(data, Bands(labels=True).eval(), claim="pgd-as-released@l2:0.5")
    assert found.verdict.claimed.count == int(sum(found.measured.clean))


def test_no_gain_needs_no_checks(data: Data) -> None:
    found = judged(data, control=Bands().eval())
    # 60 images cannot be sure of 5 points, even where no image differs.
    assert found.findings
    many = (data[0].repeat(3, 1, 1, 1), data[1].repeat(3))
    none = judged(many, control=Bands().eval())
    assert none.findings == ()
    assert none.verdict.label == "not-robust"


def test_the_verdict_on_disk_holds_what_was_found(data: Data, tmp_path: Path) -> None:
    told: list[str] = []
    found = judged(data, Bands(1e5).eval(), out=tmp_path, told=told.append)
    assert told == ["the claimed attack", "the control", "zero_gradients", "loss_saturation"]
    there = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert there == json.loads(json.dumps(found.to_json()))
    assert there["claim"] == CLAIM
    assert there["label"] == found.verdict.label
    assert there["claimed"]["count"] == 60
    low, high = there["residual"]["interval"]
    assert low <= there["residual"]["share"] <= high
    assert [finding["check"] for finding in there["findings"]] == ["zero_gradients", "loss_saturation"]
    assert there["passes"] >= sum(finding["passes"] for finding in there["findings"]) > 0
    assert there["control"]["count"] == 0
    assert there["gain"]["p"] < 0.05
    assert str(tmp_path) not in json.dumps(there)


def test_model_control_and_random_state_are_left_as_they_were(data: Data) -> None:
    model, control = Bands().eval(), Bands(-1.0).eval()
    weight, state = model.scale.detach().clone(), torch.get_rng_state()
    judged(data, model, control=control)
    assert torch.equal(model.scale, weight)
    assert model.scale.requires_grad
    assert model.scale.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_claimed_that_is_not_clean(data: Data) -> None:
    for seed in range(4):
        found = judged(data, Bands(noise=1.0).eval(), claim="pgd(steps=2)@linf:0.01", seed=seed).measured
        assert all(clean for clean, claimed in zip(found.clean, found.claimed, strict=True) if claimed)
