"""An exported folder says what the records say, and is loaded without trust."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

import reinforced
from reinforced.errors import ReinforcedError
from reinforced.models import build
from reinforced.publish.export import export
from reinforced.training.run import load_model

Evaluated = Callable[..., Path]


def test_the_folder_is_the_model(runs: Path, evaluated: Evaluated) -> None:
    evaluated()
    found = export(runs / "sl", runs / "out")
    model, images = reinforced.load_exported(found.folder), torch.rand(5, 1, 8, 8)
    assert not model.training
    assert torch.equal(model(images), load_model(runs / "sl")(images))
    by_name = build(
        "tiny", shape=(1, 8, 8), classes=10, weights=found.folder / "model.safetensors", normalize="digits"
    )
    torch.testing.assert_close(by_name.eval()(images), model(images))  # its weights are laid out otherwise


def test_the_card_holds_the_figures(runs: Path, evaluated: Evaluated, judged: Callable[..., None]) -> None:
    evaluated(robust=0.25, check=True)
    evaluated(robust=0.4, folder="a-weaker-one")
    evaluated(robust=0.75, folder="crashed", incomplete=True)
    evaluated(robust=0.99, folder="of-others", sha256="other weights")
    judged("pgd@linf:0.15=55%", "masked")
    folder = export(runs / "sl", runs / "out").folder
    card = ModelCard.load(folder / "README.md")
    results = {one.metric_name: one.metric_value for one in card.data.eval_results}
    assert results == {
        "clean accuracy, 100 images": 0.9,
        "accuracy under AutoAttack, linf:0.15, 100 images": 0.25,
        "robust accuracy, worst case, linf:0.15, 100 images": 0.25,
    }
    assert card.data.eval_results[0].dataset_name == "digits"
    assert card.data.pipeline_tag == "image-classification"
    for said in ("MASKED. The claim does not stand.", "25.0%", "INCOMPLETE", "attacks made for this very"):
        assert said in card.text
    assert "99.0%" not in card.text


def test_the_robustbench_record(runs: Path, evaluated: Evaluated, judged: Callable[..., None]) -> None:
    evaluated(robust=0.25, threat="linf:8/255", check=True)
    judged("pgd@linf:8/255=55%", "masked")
    (record,) = json.loads((export(runs / "sl", runs / "out").folder / "robustbench.json").read_text())
    assert record["dataset"] == "digits"
    assert (record["threat_model"], record["eps"]) == ("Linf", "8/255")
    assert (record["clean_acc"], record["autoattack_acc"], record["reported"]) == (90.0, 25.0, 55.0)
    assert record["unreliable"] is True
    assert "judged masked" in record["footnote"]
    assert record["authors"] is None


def test_no_folder_of_this_machine_is_told(
    runs: Path, evaluated: Evaluated, rewritten: Callable[..., Path]
) -> None:
    evaluated()
    rewritten(data={"source": "npz:/secret/mine.npz"}, model={"weights": "/secret/first.pth"})
    found = export(runs / "sl", runs / "out")
    assert yaml.safe_load((found.folder / "recipe.yaml").read_text())["data"]["source"] == "npz:mine.npz"
    for name in found.files:
        text = (found.folder / name).read_bytes()
        assert b"secret" not in text
        assert str(runs.parent).encode() not in text


def test_another_export_replaces_ours_and_nothing_else(runs: Path, evaluated: Evaluated) -> None:
    evaluated()
    folder = export(runs / "sl", runs / "out").folder
    (folder / "notes.txt").write_text("mine")
    (folder / "model.onnx").write_text("of an earlier export")
    found = export(runs / "sl", folder)
    assert "model.onnx" not in found.files
    assert sorted(path.name for path in folder.iterdir()) == sorted([*found.files, "notes.txt"])
    with pytest.raises(ReinforcedError, match="something other than an export"):
        export(runs / "sl", runs / "sl")
    assert not [path for path in runs.iterdir() if path.name.startswith(".")]


def test_nothing_is_left_where_it_fails(
    runs: Path, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated()

    def fails(*_: object) -> str:
        raise ReinforcedError("no card")

    monkeypatch.setattr("reinforced.publish.export.card", fails)
    before = sorted(runs.iterdir())
    with pytest.raises(ReinforcedError, match="no card"):
        export(runs / "sl", runs / "out")
    assert sorted(runs.iterdir()) == before


def test_code_that_a_folder_names_is_never_imported(
    runs: Path, evaluated: Evaluated, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated()
    folder = export(runs / "sl", runs / "out").folder
    (runs / "evil_network.py").write_text("raise SystemExit('was imported')")
    monkeypatch.syspath_prepend(str(runs))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "network": "evil_network:make"}))
    with pytest.raises(ReinforcedError, match="own code"):
        reinforced.load_exported(folder)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no exported model"),
        (lambda folder: (folder / "config.json").write_text("{}"), "damaged"),
        (lambda folder: (folder / "config.json").write_text("["), "damaged"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights file"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"\0" * 99), "damaged"),
    ],
)
def test_a_damaged_folder_is_one_line(
    damage: Callable[[Path], object], said: str, runs: Path, evaluated: Evaluated
) -> None:
    evaluated()
    folder = export(runs / "sl", runs / "out").folder
    damage(folder)
    with pytest.raises(ReinforcedError, match=said) as raised:
        reinforced.load_exported(folder)
    assert "\n" not in str(raised.value)


def test_changed_weights_are_refused(runs: Path, evaluated: Evaluated) -> None:
    evaluated()
    folder = export(runs / "sl", runs / "out").folder
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_sha256": "of others"}))
    with pytest.raises(ReinforcedError, match="not the weights"):
        reinforced.load_exported(folder)


def test_hostile_names_are_text_on_the_card(
    runs: Path, evaluated: Evaluated, rewritten: Callable[..., Path]
) -> None:
    evaluated()
    hostile = "a: [b]\n---\n<script>alert(1)</script> `" + "x" * 10_000
    rewritten(name=hostile, source=hostile)
    folder = export(runs / "sl", runs / "out").folder
    text = (folder / "README.md").read_text()
    assert "<script" not in text.replace("\\<", "")
    assert len(text) < 10_000
    assert ModelCard.load(folder / "README.md").data.library_name == "reinforced"


def test_figures_of_other_images_are_not_mixed(runs: Path, evaluated: Evaluated, weights: str) -> None:
    evaluated(robust=0.5)
    setup = {"model_sha256": weights, "data_sha256": "d2"}
    evaluated(robust=0.1, folder="of-other-images", setup=setup)
    later = evaluated(robust=0.0, folder="later")
    (later / "subject.json").write_text(json.dumps({"checkpoint": "last", "data": None, "skip": 100}))
    folder = export(runs / "sl", runs / "out").folder
    results = ModelCard.load(folder / "README.md").data.eval_results
    worst = [one.metric_value for one in results if one.metric_name.startswith("robust accuracy")]
    assert sorted(worst) == [0.1, 0.5]
    records = json.loads((folder / "robustbench.json").read_text())
    assert sorted(record["skip"] for record in records) == [0, 0, 100]
