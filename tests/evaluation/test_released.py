"""The released PGD beside an evaluation: its own figure, on its own terms, and nothing else moved by it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import reinforced
from reinforced.attacks.intervals import clopper_pearson
from reinforced.attacks.pgd_as_released import PGDAsReleased, pgd_as_released
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.records import AS_RELEASED, Evaluation, read_evaluation
from reinforced.evaluation.released import stalled
from reinforced.evaluation.verify import _RELEASED_KEYS, _digest, verify

Data = tuple[Tensor, Tensor]
THREAT = ThreatModel("l2", 1.0)
SEALED = ["fgsm", "pgd(steps=3)"]
RELEASED = "pgd-as-released(step=0.2,steps=4)"


def done(model: nn.Module, data: Data, **options: Any) -> Evaluation:
    found = evaluate(
        model, *data, options.pop("threat", THREAT), **{"attacks": [RELEASED, *SEALED], **options}
    )
    assert found is not None
    return found


@pytest.mark.parametrize("threat", [THREAT, ThreatModel("linf", 0.2)])
def test_its_figure_is_the_procedures_own(
    threat: ThreatModel, model: nn.Module, data: Data, tmp_path: Path
) -> None:
    images, labels = data
    found = reinforced.evaluate(
        model, images, labels, threat, attacks=[RELEASED, "fgsm"], seed=5, out=tmp_path
    )
    assert found is not None
    expected = pgd_as_released(
        model, images, labels, norm=threat.norm, epsilon=threat.epsilon, step=0.2, steps=4, seed=5
    )
    (record,) = found.as_released
    count = int(expected.correct.sum())
    assert record.accuracy == pytest.approx(count / 150)  # of all images, those wrong from the start too
    assert record.interval == clopper_pearson(count, 150)
    assert record.outside == pytest.approx(float(expected.outside.float().mean()))
    assert record.median_step == pytest.approx(float(expected.step_ratios.median()))
    with torch.no_grad():
        clean = model(images).argmax(1) == labels
    assert record.broken == int((clean & ~expected.correct).sum()) > 0
    assert (record.forwards, record.gradients) == (5 * 150, 4 * 150)
    assert (record.threat, record.batch, record.images) == (f"unclipped {threat}", 128, 150)
    assert record.mark == AS_RELEASED == "as released, unclipped: not in the worst case"
    folder = tmp_path / "pgd-as-released-step-0.2-steps-4"
    assert sorted(file.name for file in folder.iterdir()) == ["batch-0000.npz", "batch-0001.npz"]
    stored = [np.load(folder / f"batch-000{number}.npz", allow_pickle=False) for number in (0, 1)]
    kept = torch.from_numpy(np.concatenate([part["adversarial"] for part in stored]))
    assert (kept - expected.images).abs().max() <= 1e-5
    (written,) = read_evaluation(tmp_path)["as_released"]
    assert written["mark"] == AS_RELEASED
    assert written["accuracy"] == record.accuracy


def test_no_other_figure_knows_of_it(model: nn.Module, data: Data) -> None:
    control = nn.Sequential(*model.children()).eval()
    without = done(model, data, attacks=SEALED, control=control)
    beside = done(model, data, control=control)
    for name in ("robust_accuracy", "interval", "matrix_sha256", "incomplete", "control", "clean_accuracy"):
        assert getattr(beside, name) == getattr(without, name), name
    assert [record.name for record in beside.attacks] == SEALED
    assert [(r.attacked, r.broken, r.only) for r in beside.attacks] == [
        (r.attacked, r.broken, r.only) for r in without.attacks
    ]
    assert without.as_released == ()
    assert "as_released" not in without.setup  # so that folders of evaluations without it stay what they were


def test_autoattacks_figure_is_its_own(model: nn.Module, data: Data) -> None:
    few = (data[0][:20], data[1][:20])
    attacks = [RELEASED, "autoattack"]
    beside, without = done(model, few, attacks=attacks), done(model, few, attacks=attacks[1:])
    assert beside.autoattack_accuracy == without.autoattack_accuracy is not None


def test_outcomes_are_in_a_column_that_says_so(model: nn.Module, data: Data, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    (record,) = done(model, data, out=tmp_path).as_released
    table = pq.read_table(tmp_path / "outcomes.parquet").to_pydict()
    assert record.accuracy is not None
    assert sum(table[f"{RELEASED} ({AS_RELEASED})"]) == round(150 * record.accuracy)
    assert RELEASED not in table


class Saturated(nn.Module):
    """The same classes with logits so far apart that the mean over a batch falls below the floor."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.model(x)
        return self.scale * logits


def test_where_it_never_moved(model: nn.Module, data: Data, tmp_path: Path) -> None:
    shares = []
    for scale in (1.0, 1e3):
        network, out = Saturated(model, scale).eval(), tmp_path / str(scale)
        done(network, data, out=out)
        (claim,) = read_evaluation(out)["as_released"]
        expected = pgd_as_released(network, *data, norm="l2", epsilon=1.0, step=0.2, steps=4)
        own = expected.correct & (expected.step_ratios.median(dim=0).values < 0.01)
        assert (stalled(out, claim) == own).all()
        shares.append(float(own.float().mean()))
    assert shares[0] == 0 < shares[1]


def test_batches_other_than_those_counted_do_not_say_where_it_moved(
    model: nn.Module, data: Data, tmp_path: Path
) -> None:
    for scale in (1.0, 2.0):
        done(Saturated(model, scale).eval(), data, out=tmp_path / str(scale))
    (claim,) = read_evaluation(tmp_path / "1.0")["as_released"]
    with pytest.raises(ReinforcedError, match=r"batch-0000.npz: not the batch that evaluation.json counts"):
        stalled(tmp_path / "2.0", claim)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_killed_it_goes_on_to_the_same(stop_after: int, model: nn.Module, data: Data, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    left = [stop_after]

    def told(attack: str, number: int, broken: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    whole = done(model, data)
    with pytest.raises(Killed):
        done(model, data, out=tmp_path, told=told)
    there = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("batch-*.npz")}
    assert len(there) == min(stop_after, 2)
    found = done(model, data, out=tmp_path)
    assert {file: file.stat().st_mtime_ns for file in there} == there
    assert found.as_released[0].sha256 == whole.as_released[0].sha256
    assert found.matrix_sha256 == whole.matrix_sha256


@pytest.mark.parametrize("count", [2, 3])
def test_shards_deal_its_batches_whole(count: int, model: nn.Module, data: Data, tmp_path: Path) -> None:
    whole = done(model, data)
    attacks = [RELEASED, *SEALED]
    results = [
        evaluate(model, *data, THREAT, attacks=attacks, out=tmp_path, shard=(i, count))
        for i in range(1, count + 1)
    ]
    assert [result is None for result in results] == [True] * (count - 1) + [False]
    found = results[-1]
    assert found is not None
    assert found.as_released[0].sha256 == whole.as_released[0].sha256
    assert found.matrix_sha256 == whole.matrix_sha256


def test_a_crash_costs_its_figure_alone(
    model: nn.Module, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = PGDAsReleased.run

    def flaky(self: PGDAsReleased, *args: Any, first_batch: int = 0, **options: Any) -> object:
        if first_batch == 1:
            raise RuntimeError("no luck")
        return run(self, *args, first_batch=first_batch, **options)

    with monkeypatch.context() as patched:
        patched.setattr(PGDAsReleased, "run", flaky)
        found = done(model, data, out=tmp_path)
    (record,) = found.as_released
    assert (record.accuracy, record.interval, record.outside) == (None, None, None)
    assert record.failed_batches == {1: "RuntimeError: no luck"}
    assert not found.incomplete
    assert verify(tmp_path, model, *data).holds
    again = done(model, data, out=tmp_path)
    assert again.as_released[0].accuracy is not None


def test_model_and_random_state_are_as_before_even_after_a_crash(data: Data) -> None:
    class Crashing(nn.Module):
        """Crashes at the 27th pass, within the released procedure; frozen and trained parts beside."""

        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Dropout(0.5), nn.Linear(64, 5))
            self.passes = 0

        def forward(self, images: Tensor) -> Tensor:
            self.passes += 1
            if self.passes == 27:
                raise RuntimeError("out of luck")
            logits: Tensor = self.body(images)
            return logits

    with torch.random.fork_rng():
        model = Crashing().eval()
    bias = model.body[3].bias
    assert isinstance(bias, nn.Parameter)
    bias.requires_grad_(False)
    weight = model.body[3].weight
    assert isinstance(weight, Tensor)
    weight.grad = torch.ones_like(weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    found = done(model, data)
    assert list(found.as_released[0].failed_batches) == [0]
    assert not any(module.training for module in model.modules())
    assert not bias.requires_grad
    assert weight.requires_grad
    assert torch.equal(weight.grad, torch.ones_like(weight))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()


def test_suites_and_names_mix(model: nn.Module, data: Data) -> None:
    found = done(model, data, attacks=["quick", RELEASED, "pgd(steps=20)"])
    assert [record.name for record in found.attacks] == ["fgsm", "pgd", "pgd(loss=margin)"]
    assert [record.name for record in found.as_released] == [RELEASED]


@pytest.mark.parametrize(
    ("attacks", "threat", "said"),
    [
        ([RELEASED], THREAT, "only shown beside sealed attacks"),
        (["pgd-as-released", "fgsm"], ThreatModel("linf", 8 / 255), "step 0.1, epsilon 0.0313.*set .*step="),
        (["pgd-as-released(stepp=1)", "fgsm"], THREAT, "no option 'stepp'; did you mean 'step'"),
        (["pgd-as-released(preset=scrpt)", "fgsm"], THREAT, "preset: input should be 'readme' or 'script'"),
        (["pgd-as-relased", "fgsm"], THREAT, "did you mean 'pgd-as-released'"),
    ],
)
def test_bad_input_is_one_line(
    attacks: list[str], threat: ThreatModel, said: str, model: nn.Module, data: Data
) -> None:
    with pytest.raises(ReinforcedError, match=said) as caught:
        done(model, data, attacks=attacks, threat=threat)
    assert "\n" not in str(caught.value)


def test_models_it_says_nothing_of_are_refused(model: nn.Module, data: Data) -> None:
    class Noisy(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = model(images + 0.1 * torch.rand_like(images))
            return logits

    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = model(images)
            return logits.detach()

    with pytest.raises(ReinforcedError, match="predicts once, which proves nothing on a randomised model"):
        done(Noisy().eval(), data)
    with pytest.raises(ReinforcedError, match=r"pgd-as-released.* needs the model's gradients"):
        done(Cut().eval(), data, attacks=[RELEASED, "random_search(samples=3)"])


def forge(folder: Path, change: Callable[[dict[str, Any]], None], *, consistently: bool = True) -> None:
    path = next(folder.rglob("batch-0001.npz"))
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    before = str(arrays["sha256"])
    change(arrays)
    if consistently:
        after = _digest(arrays, _RELEASED_KEYS)
        record = folder / "evaluation.json"
        record.write_text(record.read_text().replace(before, after))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def test_verified_on_its_own_terms(model: nn.Module, data: Data, tmp_path: Path) -> None:
    found = done(model, data, out=tmp_path)
    checked = verify(tmp_path, model, *data)
    assert checked.holds, checked.failures
    assert checked.examples == sum(record.broken for record in found.attacks)  # its images are not among them
    (check,) = checked.as_released
    assert (check.name, check.mark, check.threat) == (RELEASED, AS_RELEASED, "unclipped l2:1")
    assert check.images == 150
    assert check.outside == found.as_released[0].outside
    assert check.outside is not None
    assert check.outside > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda a: a["adversarial"].__setitem__(0, a["adversarial"][0] + 0.3),
            "image 128: lies .* outside uncl",
        ),
        (lambda a: a["correct"].__setitem__(0, not a["correct"][0]), "image 128: is classified .* otherwise"),
        (lambda a: a["correct"].__setitem__(0, not a["correct"][0]), "not what the record says"),
    ],
)
def test_what_is_forged_is_caught(
    change: Callable[[dict[str, Any]], None], said: str, model: nn.Module, data: Data, tmp_path: Path
) -> None:
    done(model, data, out=tmp_path)
    forge(tmp_path, change)
    failures = "\n".join(verify(tmp_path, model, *data).failures)
    assert re.search(said, failures), failures


def test_what_is_tampered_with_or_lost_is_caught(model: nn.Module, data: Data, tmp_path: Path) -> None:
    done(model, data, out=tmp_path)
    forge(tmp_path, lambda a: a["outside"].__setitem__(0, False), consistently=False)
    assert "not those that were counted" in verify(tmp_path, model, *data).failures[0]
    with pytest.raises(ReinforcedError, match="changed since they were written"):
        done(model, data, out=tmp_path)
    next(tmp_path.rglob("batch-0000.npz")).unlink()
    assert "cannot be read" in verify(tmp_path, model, *data).failures[0]


def test_a_record_without_it_still_verifies(model: nn.Module, data: Data, tmp_path: Path) -> None:
    done(model, data, attacks=SEALED, out=tmp_path)
    file = tmp_path / "evaluation.json"
    record = json.loads(file.read_text())
    del record["as_released"]
    file.write_text(json.dumps(record))
    assert verify(tmp_path, model, *data).holds
