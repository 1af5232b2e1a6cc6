from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from reinforced.data import Dataset, Split, contact_sheet, load, save_npz, summarise, to_float
from reinforced.errors import ReinforcedError


def test_summary_is_exact() -> None:
    data = load("synthetic:10x8")
    summary = summarise(data)
    floats = to_float(data.train.batch(torch.arange(len(data.train)))[0], torch.float64)
    assert summary.counts == {"train": 900, "validation": 100, "test": 250}
    assert summary.per_class["validation"] == (10,) * 10
    assert summary.shape == (3, 8, 8)
    assert summary.sha256 == data.sha256
    assert summary.minimum == tuple(floats.amin((0, 2, 3)).tolist())
    assert summary.maximum == tuple(floats.amax((0, 2, 3)).tolist())
    assert summary.mean == pytest.approx(floats.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert summary.std == pytest.approx(floats.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_contact_sheet_shows_the_classes_rows_by_rows(tmp_path: Path) -> None:
    images = torch.tensor([50, 100, 150, 200], dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 8, 8, 1)
    split = Split(images.contiguous(), torch.tensor([1, 0, 1, 1]))
    contact_sheet(Dataset("x", ("no", "yes"), split, split, split, ""), tmp_path / "sheet.png", columns=2)
    with Image.open(tmp_path / "sheet.png") as image:
        sheet = np.asarray(image)
    assert sheet.shape == (100, 220, 3)
    centres = sheet[[24, 74]][:, [144, 194]]
    assert centres[..., 0].tolist() == [[100, 255], [50, 150]]
    assert (sheet[:50, :120] < 128).any()  # the class's name


@pytest.mark.parametrize("side", [4, 32, 300])
def test_contact_sheet_of_any_size(tmp_path: Path, side: int) -> None:
    split = Split(torch.zeros(1, side, side, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    contact_sheet(Dataset("x", ("a",), split, split, split, ""), tmp_path / "sheet.png", columns=1)
    with Image.open(tmp_path / "sheet.png") as image:
        assert 48 <= image.height <= 100


def test_archive_comes_back(tmp_path: Path) -> None:
    data = load("digits")
    save_npz(data, tmp_path / "digits.npz")
    back = load(f"npz:{tmp_path / 'digits.npz'}", validation=0)
    assert back.classes == data.classes
    kept = torch.cat([data.to("cpu").train.images, data.to("cpu").validation.images])
    assert torch.equal(back.to("cpu").train.images, kept)
    assert torch.equal(back.train.labels, torch.cat([data.train.labels, data.validation.labels]))
    assert torch.equal(back.to("cpu").test.images, data.to("cpu").test.images)
    assert torch.equal(back.test.labels, data.test.labels)


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for write in (save_npz, contact_sheet):
        with pytest.raises(ReinforcedError, match="cannot write"):
            write(load("digits"), tmp_path / "file" / "x")
