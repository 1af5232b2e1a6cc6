"""Evaluations: the worst case, resuming, shards, crashes, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks import spec
from reinforced.attacks.base import AttackOutput, AttackSettings, Batch
from reinforced.attacks.intervals import clopper_pearson
from reinforced.attacks.threat import ThreatModel
from reinforced.attacks.transfer import Transfer
from reinforced.errors import ReinforcedError
from reinforced.evaluation.chunks import load_chunk
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.identity import writing
from reinforced.evaluation.records import Evaluation, read_evaluation
from reinforced.evaluation.verify import verify
from reinforced.streams import Stream

THREAT = ThreatModel("linf", 0.02)
ATTACKS = ["fgsm", "pgd(steps=3)", "pgd(steps=5,loss=margin)"]
Data = tuple[Tensor, Tensor]


def done(model: nn.Module, data: Data, **options: object) -> Evaluation:
    found = evaluate(model, *data, THREAT, **{"attacks": ATTACKS, **options})  # type: ignore[arg-type]
    assert found is not None
    return found


class Flaky(AttackSettings):
    """Crashes on the second chunk, told by its first draw's stream name."""

    kind: Literal["flaky"] = "flaky"

    def candidates(self, model: nn.Module, batch: Batch, threat: ThreatModel, stream: Stream) -> AttackOutput:
        if stream.name.endswith("/1"):
            raise RuntimeError("no luck")
        return AttackOutput((batch.images + threat.epsilon).clamp(0, 1))


def test_the_figures_are_those_of_the_matrix(model: nn.Module, data: Data, tmp_path: Path) -> None:
    found = done(model, data, out=tmp_path, run_all=True)
    images, _ = data
    assert found.images == len(images)
    assert found.clean_accuracy == pytest.approx(135 / 150)
    names = [record.name for record in found.attacks]
    worst = torch.ones(150, dtype=torch.bool)
    for name in names:
        folder = tmp_path / name.translate(str.maketrans("(=,)", "----")).strip("-")
        robust = torch.cat([load_chunk(part).robust for part in sorted(folder.glob("chunk-*.npz"))])
        worst &= robust
    count = int(worst.sum())
    assert found.robust_accuracy == pytest.approx(count / 150)
    assert found.interval == clopper_pearson(count, 150)
    assert 0 < count < 135
    assert all(record.attacked == 135 for record in found.attacks)
    assert all(record.accuracy is not None for record in found.attacks)
    stored = read_evaluation(tmp_path)
    assert stored["robust_accuracy"] == found.robust_accuracy
    assert stored["matrix_sha256"] == found.matrix_sha256


def test_dropping_broken_images_saves_work_not_accuracy(model: nn.Module, data: Data) -> None:
    everything, dropped = done(model, data, run_all=True), done(model, data)
    assert dropped.robust_accuracy <= everything.robust_accuracy + 1 / 150
    assert sum(r.attacked for r in dropped.attacks) < sum(r.attacked for r in everything.attacks)
    assert sum(r.broken for r in dropped.attacks) == round(
        150 * (dropped.clean_accuracy - dropped.robust_accuracy)
    )


def test_cheapest_attacks_come_first(model: nn.Module, data: Data) -> None:
    found = done(model, data, attacks=["pgd(steps=7)", "fgsm", "pgd(steps=2)"])
    assert [record.name for record in found.attacks] == ["fgsm", "pgd(steps=2)", "pgd(steps=7)"]


def test_the_model_is_as_it_was(model: nn.Module, data: Data) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tracer = sys.gettrace()
    done(model, data)
    assert sys.gettrace() is tracer
    assert not model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize("stop_after", [1, 4, 8])
def test_a_killed_evaluation_goes_on_to_the_same_matrix(
    stop_after: int, model: nn.Module, data: Data, tmp_path: Path
) -> None:
    class Killed(BaseException):
        pass

    left = [stop_after]

    def told(attack: str, chunk: int, broken: int) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    whole = done(model, data)
    with pytest.raises(Killed):
        evaluate(model, *data, THREAT, attacks=ATTACKS, out=tmp_path, told=told)
    assert not (tmp_path / "evaluation.json").exists()
    again: list[str] = []
    found = done(model, data, out=tmp_path, told=lambda attack, chunk, broken: again.append(attack))
    assert found.matrix_sha256 == whole.matrix_sha256
    assert found.robust_accuracy == whole.robust_accuracy


def test_what_another_machine_began_goes_on_in_its_chunks(
    model: nn.Module, data: Data, tmp_path: Path
) -> None:
    whole = done(model, data, chunk=100)
    assert whole.setup["chunk"] == 100
    assert done(model, data).setup["chunk"] == 64  # another measurement
    assert evaluate(model, *data, THREAT, attacks=ATTACKS, chunk=100, shard=(1, 2), out=tmp_path) is None
    found = done(model, data, out=tmp_path, control=model)
    assert found.matrix_sha256 == whole.matrix_sha256
    assert found.images == 150
    assert sorted(part.name for part in tmp_path.glob("fgsm/*.npz")) == ["chunk-0000.npz", "chunk-0001.npz"]
    with pytest.raises(ReinforcedError, match="chunk differs"):
        done(model, data, out=tmp_path, chunk=64)
    with pytest.raises(ReinforcedError, match="a chunk of 0 images"):
        done(model, data, chunk=0)
    assert verify(tmp_path, model, *data).holds


def test_what_a_kill_left_half_written_goes(model: nn.Module, data: Data, tmp_path: Path) -> None:
    done(model, data, out=tmp_path, attacks=["fgsm"])
    left = [tmp_path / "fgsm" / ".chunk-0001.npz.x1.part", tmp_path / ".evaluation.json.x2.part"]
    with writing(tmp_path):  # of which these are, perhaps
        for file in left:
            file.touch()
        done(model, data, out=tmp_path, attacks=["fgsm"])
        assert all(file.exists() for file in left)
    done(model, data, out=tmp_path, attacks=["fgsm"])
    assert not any(file.exists() for file in left)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_shards_merge_to_the_whole(count: int, model: nn.Module, data: Data, tmp_path: Path) -> None:
    whole = done(model, data)
    results = [
        evaluate(model, *data, THREAT, attacks=ATTACKS, out=tmp_path, shard=(i, count))
        for i in reversed(range(1, count + 1))
    ]
    found = next(result for result in results if result is not None)
    assert sum(result is not None for result in results) >= 1
    assert found.matrix_sha256 == whole.matrix_sha256
    assert found.attacks[0].broken == whole.attacks[0].broken


def test_a_crash_costs_its_chunk_and_is_said(
    model: nn.Module, data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(spec.ATTACKS, "flaky", Flaky)
    found = done(model, data, attacks=["flaky", "fgsm"], out=tmp_path)
    assert found.incomplete
    record = next(record for record in found.attacks if record.name == "flaky")
    assert list(record.failed_chunks) == [1]
    assert "no luck" in record.failed_chunks[1]
    assert next(record for record in found.attacks if record.name == "fgsm").attacked > 0
    monkeypatch.setattr(Flaky, "candidates", lambda self, model, batch, *_: AttackOutput(batch.images))
    assert not done(model, data, attacks=["flaky", "fgsm"], out=tmp_path).incomplete


def test_a_control_is_not_unsaid_by_a_call_without_one(model: nn.Module, data: Data, tmp_path: Path) -> None:
    known = done(model, data, out=tmp_path, control=model).control
    assert known is not None
    assert done(model, data, out=tmp_path).control == known


def test_the_control_must_break(model: nn.Module, data: Data) -> None:
    class Deaf(nn.Module):
        """Right on every image, whatever is done to it: no attack can break it."""

        def __init__(self) -> None:
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([2.0, 0, 0, 0, 0]))

        def forward(self, images: Tensor) -> Tensor:
            return self.bias + 0 * images.mean((1, 2, 3), keepdim=False)[:, None]

    images, labels = data
    zeros = torch.zeros_like(labels)
    failing = evaluate(model, images, labels, ThreatModel("linf", 0.3), attacks=["pgd"], control=model)
    assert failing is not None
    assert failing.control is not None
    assert failing.control.broken
    deaf = evaluate(Deaf().eval(), images, zeros, THREAT, attacks=["fgsm"], control=Deaf().eval())
    assert deaf is not None
    assert deaf.control is not None
    assert not deaf.control.broken


def test_a_randomised_model_is_scored_over_draws(data: Data) -> None:
    class Coin(nn.Module):
        """Says the truth of class 0 in two of three draws."""

        def forward(self, images: Tensor) -> Tensor:
            logits = torch.zeros(len(images), 5)
            logits[:, 0] = 0.5
            logits[:, 1] = (torch.rand(len(images)) < 1 / 3).float()
            return logits + 0 * images.mean((1, 2, 3))[:, None]

    images, labels = data
    found = evaluate(Coin().eval(), images, torch.zeros_like(labels), THREAT, attacks=["fgsm"])
    assert found is not None
    assert found.setup["draws"] == 100
    assert found.clean_accuracy == 1
    assert found.robust_accuracy == 1
    assert found.notes[0].name == "randomised"


def test_every_example_is_kept(model: nn.Module, data: Data, tmp_path: Path) -> None:
    done(model, data, out=tmp_path)
    images, labels = data
    part = load_chunk(tmp_path / "fgsm" / "chunk-0001.npz")
    rows = part.attacked.nonzero().squeeze(1) + 64
    assert torch.equal(THREAT.excess(part.adversarial, images[rows]), torch.zeros(len(rows)))
    assert torch.equal(model(part.adversarial).argmax(1) == labels[rows], part.robust[part.attacked])


def refused(message: str, model: nn.Module, data: Data, **options: object) -> None:
    with pytest.raises(ReinforcedError, match=message) as caught:
        done(model, data, **options)
    assert "\n" not in str(caught.value)


class Shifted(nn.Module):
    """Weights alike, code not."""

    def __init__(self, network: nn.Module, by: float) -> None:
        super().__init__()
        self.network, self.by = network, by

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits + self.by * images.mean((1, 2, 3))[:, None] * torch.arange(5)


def test_another_surrogate_or_other_code_is_another_evaluation(
    model: nn.Module, data: Data, tmp_path: Path
) -> None:
    def lent(seed: int) -> Transfer:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return Transfer({"s": nn.Sequential(nn.Flatten(), nn.Linear(64, 5))})

    done(model, data, transfers=[lent(0)], out=tmp_path / "transfer")
    done(model, data, transfers=[lent(0)], out=tmp_path / "transfer")
    refused("surrogates differs", model, data, transfers=[lent(1)], out=tmp_path / "transfer")
    done(Shifted(model, 0).eval(), data, out=tmp_path / "code")
    refused(
        "with these weights that answers otherwise", Shifted(model, 1).eval(), data, out=tmp_path / "code"
    )


def test_attacks_that_would_share_a_folder_are_refused(model: nn.Module, data: Data) -> None:
    with torch.random.fork_rng():
        surrogate = nn.Sequential(nn.Flatten(), nn.Linear(64, 5)).eval()
    for first, second in (("a b", "a-b"), ("a", "a")):
        both = [Transfer({first: surrogate}), Transfer({second: surrogate})]
        refused("would share the folder", model, data, transfers=both)


def test_bad_input_is_one_line(model: nn.Module, data: Data, tmp_path: Path) -> None:
    images, labels = data

    class Twice(nn.Module):
        def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
            return images, images

    refused("not in \\[0,1\\]", model, (images * 5 - 2, labels))
    refused("train mode", nn.Sequential(nn.Flatten(), nn.Dropout()), data)
    refused("returned a tuple", Twice().eval(), data)
    refused("the model has 5 classes", model, (images, labels + 3))
    refused("no attacks chosen", model, data, attacks=[])
    refused("no attack 'pdg'.*did you mean 'pgd'", model, data, attacks=["pdg"])
    refused("shard 3/2", model, data, shard=(3, 2))
    done(model, data, out=tmp_path)
    refused("holds another evaluation \\(seed differs\\)", model, data, out=tmp_path, seed=1)
    with pytest.raises(ReinforcedError, match="does not work in linf"):
        evaluate(model, images, labels, THREAT, attacks=["ddn"])


def test_a_model_without_gradients_blocks_gradient_attacks(model: nn.Module, data: Data) -> None:
    class Cut(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = model(images.detach())
            return logits.detach()

    refused("needs the model's gradients", Cut().eval(), data)
    found = done(Cut().eval(), data, attacks=["random_search(samples=3)"])
    assert [note.name for note in found.notes] == ["no-gradients"]


def test_damaged_parts_are_named(model: nn.Module, data: Data, tmp_path: Path) -> None:
    done(model, data, out=tmp_path)
    part = tmp_path / "fgsm" / "chunk-0000.npz"
    part.write_bytes(part.read_bytes()[:-40])
    refused("damaged", model, data, out=tmp_path)
    (tmp_path / "setup.json").write_text("{")
    refused("setup.json: damaged", model, data, out=tmp_path)
    (tmp_path / "evaluation.json").write_text("{")
    with pytest.raises(ReinforcedError, match="not JSON"):
        read_evaluation(tmp_path)


def test_a_record_with_a_misspelt_field_or_attack_is_damaged(
    model: nn.Module, data: Data, tmp_path: Path
) -> None:
    done(model, data, out=tmp_path)
    file = tmp_path / "evaluation.json"
    whole = file.read_text()
    read_evaluation(tmp_path)
    for name in ("robust_accuracy", "interval", "setup", "chunk_sha256", "data_sha256", "accuracy", "fgsm"):
        file.write_text(whole.replace(f'"{name}"', f'"{name[:-1]}#"', 1))
        with pytest.raises(ReinforcedError, match="a field is missing or strange"):
            read_evaluation(tmp_path)


def test_outcomes_are_a_table(model: nn.Module, data: Data, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    found = done(model, data, out=tmp_path)
    table = pq.read_table(tmp_path / "outcomes.parquet").to_pydict()
    assert len(table["image"]) == 150
    assert sum(table["robust"]) == round(150 * found.robust_accuracy)
    assert table["fgsm"].count(None) == 15
    assert json.loads((tmp_path / "setup.json").read_text())["sha256"] == found.setup["sha256"]
