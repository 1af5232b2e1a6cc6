from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from reinforced.errors import Damaged
from reinforced.studies.sweep.checked import sound_diagnosis
from reinforced.training.run import SUMMARY, RunDirectory

VERDICT: dict[str, Any] = {
    "label": "masked",
    "paragraph": "Some of it is not there.",
    "images": 10,
    "passes": 5,
    "claimed": {"count": 6, "share": 0.6},
    "residual": {"count": 4, "share": 0.4},
    "loss": {"count": 2, "share": 0.2},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a diagnosis, with the run's copy of its verdict."""
    folder = tmp_path / "diagnostics" / "fgsm"
    folder.mkdir(parents=True)
    (tmp_path / "verdict.json").write_text(json.dumps({**VERDICT, "folder": "fgsm"}))
    return folder


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.update(label="maskeD"),
        lambda record: record.update(passes="5"),
        lambda record: record.update(passes=-5),
        lambda record: record.update(images=0),
        lambda record: record.update(images=100),
        lambda record: record["claimed"].update(count=7),
        lambda record: record["residual"].update(share=0.5),
        lambda record: record.pop("residual"),
        lambda record: record.update(claimed=None),
    ],
)
def test_a_verdict_that_contradicts_itself_is_damaged(
    damage: Callable[[dict[str, Any]], object], folder: Path
) -> None:
    record = copy.deepcopy(VERDICT)
    assert sound_diagnosis(record, folder)
    damage(record)
    (folder.parents[1] / "verdict.json").write_text(json.dumps({**record, "folder": "fgsm"}))
    assert not sound_diagnosis(record, folder)


def test_a_verdict_is_held_against_the_runs_copy_of_it(folder: Path) -> None:
    assert not sound_diagnosis({**VERDICT, "passes": 7}, folder)
    (folder.parents[1] / "verdict.json").write_text(json.dumps({**VERDICT, "folder": "another"}))
    assert sound_diagnosis({**VERDICT, "passes": 7}, folder)


@pytest.mark.parametrize(
    "text", ['"x"', "[]", "{}", json.dumps({**dict.fromkeys(SUMMARY, 0), "epochs": "3"})]
)
def test_a_summary_of_another_form_is_damaged(text: str, tmp_path: Path) -> None:
    (tmp_path / "summary.json").write_text(text)
    with pytest.raises(Damaged, match="corrupt") as caught:
        RunDirectory(tmp_path).summary()
    assert caught.value.path == tmp_path / "summary.json"
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - as Ray carries it
    assert (str(again), again.path) == (str(caught.value), caught.value.path)
