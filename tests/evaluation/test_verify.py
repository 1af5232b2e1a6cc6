"""Re-verification: what holds is said to hold, what was tampered with is caught."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reinforced.attacks.threat import ThreatModel
from reinforced.errors import ReinforcedError
from reinforced.evaluation.evaluate import evaluate
from reinforced.evaluation.gallery import gallery
from reinforced.evaluation.verify import _digest, verify
from reinforced.zoo.zero_backward import ZeroBackward

Data = tuple[Tensor, Tensor]
Arrays = dict[str, Any]


@pytest.fixture
def folder(model: nn.Module, data: Data, tmp_path: Path) -> Path:
    evaluate(model, *data, ThreatModel("linf", 0.05), attacks=["fgsm", "pgd(steps=5)"], out=tmp_path)
    return tmp_path


def rewrite(folder: Path, change: Callable[[Arrays], None], *, consistently: bool) -> None:
    """Change a stored chunk; ``consistently`` also forges its hash in the record."""
    path = folder / "fgsm" / "chunk-0000.npz"
    with np.load(path, allow_pickle=False) as stored:
        arrays = {key: stored[key] for key in stored.files}
    before = str(arrays["sha256"])
    change(arrays)
    if consistently:
        arrays["sha256"] = np.array(_digest(arrays))
        record = folder / "evaluation.json"
        record.write_text(record.read_text().replace(before, str(arrays["sha256"])))
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


@pytest.mark.parametrize("threat", [ThreatModel("linf", 0.05), ThreatModel("l2", 0.5)])
def test_what_was_counted_holds(threat: ThreatModel, model: nn.Module, data: Data, tmp_path: Path) -> None:
    found = evaluate(model, *data, threat, attacks=["fgsm", "pgd(steps=5)"], out=tmp_path)
    assert found is not None
    checked = verify(tmp_path, model, *data)
    assert checked.holds
    assert checked.examples == sum(record.broken for record in found.attacks) > 0
    assert checked.survive_8bit is not None
    assert 0 < checked.survive_8bit <= 1


def test_logits_that_are_not_finite_are_wrong_answers(data: Data, tmp_path: Path) -> None:
    """As the runner has it: argmax may name the label all the same."""
    images, labels = data[0][:20], torch.zeros(20, dtype=torch.int64)
    known = {bytes(image.numpy().tobytes()) for image in images}

    class Overflowing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = images.flatten(1)[:, :5].clone()
            seen = [bytes(image.detach().numpy().tobytes()) in known for image in images]
            logits[:, 0] = torch.tensor([2.0 if one else torch.inf for one in seen])
            return logits + 0 * images.mean((1, 2, 3))[:, None]

    model = Overflowing().eval()
    found = evaluate(model, images, labels, ThreatModel("linf", 0.1), attacks=["random_search"], out=tmp_path)
    assert found is not None
    assert found.robust_accuracy == 0
    assert verify(tmp_path, model, images, labels).failures == ()


def test_a_tampered_tensor_is_caught(folder: Path, model: nn.Module, data: Data) -> None:
    def nudge(arrays: Arrays) -> None:
        arrays["adversarial"][0, 0, 0, 0] += np.float32(1e-6)

    rewrite(folder, nudge, consistently=False)
    checked = verify(folder, model, *data)
    assert not checked.holds
    assert "not those that were counted" in checked.failures[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda a: a["adversarial"].__setitem__(..., a["adversarial"] + 0.3), "outside linf"),
        (lambda a: a["robust"].__setitem__(slice(None), False), "classified rightly"),
    ],
)
def test_a_forged_record_is_caught(
    change: Callable[[Arrays], None], said: str, folder: Path, model: nn.Module, data: Data
) -> None:
    rewrite(folder, change, consistently=True)
    checked = verify(folder, model, *data)
    assert any(said in failure for failure in checked.failures)


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        ("robust_accuracy", "robust accuracy: "),
        ("clean_accuracy", "clean accuracy: "),
        ("autoattack_accuracy", "not what AutoAttack left"),
        ("matrix_sha256", "not the hash of the outcomes"),
    ],
)
def test_figures_that_do_not_follow_are_caught(
    figure: str, said: str, folder: Path, model: nn.Module, data: Data
) -> None:
    record = folder / "evaluation.json"
    values = json.loads(record.read_text())
    values[figure] = (values[figure] or 0.0) + 0.02 if figure != "matrix_sha256" else "another"
    record.write_text(json.dumps(values))
    (failure,) = verify(folder, model, *data).failures
    assert said in failure


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda values: values["interval"].__setitem__(1, 0.99), r"interval: \[0\.\d+, 0\.\d+\], not what"),
        (lambda values: values["attacks"][0].__setitem__("broken", 0), r"fgsm: broken is \d+, not what"),
        (lambda values: values["attacks"][0].__setitem__("only", -1), r"fgsm: only is \d+, not what"),
        (lambda values: values.__setitem__("incomplete", True), "incomplete: not what"),
        (
            lambda values: values["control"].__setitem__("broken", True),
            r"control: it keeps \d\.\d+, not what",
        ),
        (lambda values: values["control"].__setitem__("robust_accuracy", 0.01), "control: it keeps"),
    ],
)
def test_what_the_record_says_beside_its_shares_is_held_to_the_outcomes(
    change: Callable[[dict[str, Any]], None], said: str, model: nn.Module, data: Data, tmp_path: Path
) -> None:
    weak = ThreatModel("linf", 0.02)
    evaluate(model, *data, weak, attacks=["fgsm", "pgd(steps=3)"], out=tmp_path, control=model)
    assert verify(tmp_path, model, *data).holds
    record = tmp_path / "evaluation.json"
    values = json.loads(record.read_text())
    change(values)
    record.write_text(json.dumps(values))
    (failure,) = verify(tmp_path, model, *data).failures
    assert re.match(said, failure)


def test_a_control_of_which_nothing_is_kept_is_caught(model: nn.Module, data: Data, tmp_path: Path) -> None:
    evaluate(model, *data, ThreatModel("linf", 0.02), attacks=["fgsm"], out=tmp_path, control=model)
    (tmp_path / "control" / "evaluation.json").unlink()
    assert verify(tmp_path, model, *data).failures == (
        "control: the record has one, but nothing of it is kept",
    )


def test_pixels_outside_the_box_are_caught(model: nn.Module, data: Data, tmp_path: Path) -> None:
    images, labels = data
    dark = images * 0.01
    with torch.no_grad():
        labels = model(dark).argmax(1)
    evaluate(model, dark, labels, ThreatModel("linf", 0.05), attacks=["fgsm"], out=tmp_path)

    def below(arrays: Arrays) -> None:
        arrays["adversarial"][:, 0, 0, 0] = -0.02

    rewrite(tmp_path, below, consistently=True)
    assert any("outside [0,1]" in failure for failure in verify(tmp_path, model, dark, labels).failures)


def test_a_truncated_file_is_a_failure(folder: Path, model: nn.Module, data: Data) -> None:
    part = folder / "pgd-steps-5" / "chunk-0001.npz"
    part.write_bytes(part.read_bytes()[:100])
    assert any("cannot be read" in failure for failure in verify(folder, model, *data).failures)


class SameWeights(nn.Module):
    """Another model's weights, and answers of its own."""

    def __init__(self, model: nn.Module, scale: float) -> None:
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.model(images)
        return self.scale * logits

    def state_dict(self, *arguments: Any, **options: Any) -> Any:
        return self.model.state_dict(*arguments, **options)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (-1.0, "is classified rightly"),
        (torch.nan, "clean: the model now answers 135 of 150 images otherwise"),
    ],
)
def test_another_model_does_not_verify(
    scale: float, said: str, folder: Path, model: nn.Module, data: Data
) -> None:
    failures = verify(folder, SameWeights(model, scale).eval(), *data).failures
    assert any(said in one for one in failures), failures
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    with pytest.raises(ReinforcedError, match="not the weights that were evaluated"):
        verify(folder, other, *data)


def test_other_images_are_refused(folder: Path, model: nn.Module, data: Data) -> None:
    images, labels = data
    with pytest.raises(ReinforcedError, match="not the images"):
        verify(folder, model, images.flip(0), labels)
    with pytest.raises(ReinforcedError, match="no finished evaluation"):
        verify(folder / "nowhere", model, images, labels)


def test_the_gallery_is_a_picture(model: nn.Module, data: Data, tmp_path: Path) -> None:
    from PIL import Image

    images, labels = data
    found = (images[:3] + 0.1).clamp(0, 1)
    gallery(tmp_path / "gallery.png", model, images[:3], found, labels[:3], list("abcde"))
    with Image.open(tmp_path / "gallery.png") as picture:
        assert picture.size == (384, 432)


def test_the_weakest_autoattack_is_not_its_figure(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        masked = nn.Sequential(ZeroBackward(), nn.Flatten(), nn.Linear(64, 5)).eval()
    images = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    labels = masked(images).argmax(1)
    attacks = ["autoattack", "autoattack(version=rand)"]
    found = evaluate(masked, images, labels, ThreatModel("linf", 0.02), attacks=attacks, out=tmp_path)
    assert found is not None
    by_name = {record.name: record.accuracy or 0.0 for record in found.attacks}
    assert found.autoattack_accuracy == by_name["autoattack"] < by_name["autoattack(version=rand)"]
    assert verify(tmp_path, masked, images, labels).holds
    alone = evaluate(masked, images, labels, ThreatModel("linf", 0.02), attacks=attacks[1:])
    assert alone is not None
    assert alone.autoattack_accuracy is None
