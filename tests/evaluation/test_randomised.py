"""Randomised models: chance must neither break what nobody attacked nor keep what attacks break."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.base import run_attack
from reinforced.attacks.pgd import PGD
from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.evaluation.answers import bind_answers
from reinforced.evaluation.chunks import load_chunk
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.suites import choose_attacks
from reinforced.evaluation.verify import verify

THREAT = ThreatModel("linf", 0.05)
ATTACKS = ["fgsm", "pgd(steps=2)", "pgd(steps=5,loss=margin)", "random_search(samples=5)"]
Data = tuple[Tensor, Tensor]


class Noisy(nn.Module):
    """Logits with noise: many images are right in about half of the draws."""

    def __init__(self, model: nn.Module, size: float) -> None:
        super().__init__()
        self.model, self.size = model, size

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return logits + self.size * logits.detach().std() * torch.randn_like(logits)


@pytest.fixture(params=[0.5, 2.0])
def noisy(model: nn.Module, request: pytest.FixtureRequest) -> nn.Module:
    return Noisy(model, request.param).eval()


def test_an_attack_breaks_only_what_it_attacked(noisy: nn.Module, data: Data, tmp_path: Path) -> None:
    found = evaluate(noisy, *data, THREAT, attacks=ATTACKS, out=tmp_path, chunk=50)
    assert found is not None
    for record in found.attacks:
        assert record.broken <= record.attacked, record.name
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    parts = [[load_chunk(part) for part in sorted(folder.glob("chunk-*.npz"))] for folder in folders]
    assert len(parts) == len(ATTACKS)
    broken = sum(int((chunk.attacked & ~chunk.robust).sum()) for column in parts for chunk in column)
    lost = round(150 * (found.clean_accuracy - found.robust_accuracy))
    # A later attack may be let loose on what the first one's draws had wrong before it began.
    assert 0 < lost <= sum(record.broken for record in found.attacks) <= broken


def test_an_honest_evaluation_verifies(noisy: nn.Module, data: Data, tmp_path: Path) -> None:
    assert evaluate(noisy, *data, THREAT, attacks=ATTACKS, out=tmp_path, chunk=50) is not None
    failures = [one for one in verify(tmp_path, noisy, *data).failures if "not what the record says" in one]
    assert failures == []


def test_pgd_keeps_the_strongest_iterate(model: nn.Module, data: Data) -> None:
    """The first iterate that one draw gets wrong is right in most others."""
    noisy = Noisy(model, 0.5).eval()
    found = evaluate(noisy, *data, THREAT, attacks=["pgd(steps=20)"])
    assert found is not None
    assert found.attacks[0].name == "pgd(keep=strongest)"
    first = run_attack(PGD(), noisy, *data, THREAT, seed=0, draws=100)
    broken = int((first.attacked & ~first.robust).sum())
    assert found.attacks[0].broken > 2 * broken > 0
    plain = evaluate(model, *data, THREAT, attacks=["pgd(steps=20)"])
    assert plain is not None
    assert plain.attacks[0].name == "pgd"


def test_pgd_that_averages_draws_keeps_its_name() -> None:
    averaging, plain = PGD(eot=5), PGD()
    assert averaging.suited(100) is averaging
    assert plain.suited(1) is plain
    assert plain.suited(100).keep == "strongest"


def test_attacks_that_average_draws_alike_run_once() -> None:
    names = ["pgd(steps=20)", "pgd(steps=20,keep=strongest)"]
    chosen = choose_attacks(names, THREAT)
    assert [one.name for one in chosen.suited(100)] == ["pgd(keep=strongest)"]
    assert len(chosen.suited(1)) == 2


def test_answers_are_bound_whatever_they_are(tmp_path: Path) -> None:
    logits = torch.tensor([[1.0, -torch.inf, torch.nan], [2.0, 3.0, 4.0]])
    bind_answers(tmp_path, logits, "evaluation")
    bind_answers(tmp_path, logits + torch.tensor([1e-4, 0, 0]), "evaluation")
    for other in (logits.nan_to_num(), logits + 0.1, logits[:1]):
        with pytest.raises(ReinforcedError, match="answers otherwise: was its code changed"):
            bind_answers(tmp_path, other, "evaluation")


@pytest.mark.parametrize("seed", range(4))
def test_honest_records_hold(seed: int, model: nn.Module, data: Data, tmp_path: Path) -> None:
    noisy = Noisy(model, 0.5).eval()
    found = evaluate(noisy, *data, THREAT, attacks=ATTACKS, out=tmp_path, seed=seed)
    assert found is not None
    assert verify(tmp_path, noisy, *data).failures == ()


def test_autoattack_keeps_its_own_figure(model: nn.Module, data: Data) -> None:
    noisy, few = Noisy(model, 1.0).eval(), (data[0][:24], data[1][:24])
    found = evaluate(noisy, *few, THREAT, attacks=["fgsm", "autoattack"])
    assert found is not None
    assert found.autoattack_accuracy is not None
    assert found.autoattack_accuracy >= found.robust_accuracy
