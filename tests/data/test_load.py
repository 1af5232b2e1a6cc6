from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reinforced.data import load


def rows(split: Any) -> set[int]:
    return set(split.index.tolist())


@pytest.mark.parametrize("source", ["synthetic:10x8", "digits"])
def test_splits_are_disjoint_and_cover_everything(source: str) -> None:
    data = load(source)
    parts = [rows(split) for split in (data.train, data.validation, data.test)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == len(data.train.images)
    for split in (data.train, data.validation, data.test):
        counts = split.labels.bincount(minlength=10)
        assert counts.max() - counts.min() <= 7  # digits has 174 to 183 a class


def test_validation_fraction_and_seed() -> None:
    data = load("synthetic:10x8", validation=0.25)
    assert (len(data.train), len(data.validation), len(data.test)) == (750, 250, 250)
    assert data.validation.labels.bincount().tolist() == [25] * 10
    again, other = (load("synthetic:10x8", validation=0.25, split_seed=seed) for seed in (0, 1))
    assert rows(again.train) == rows(data.train)
    assert rows(other.train) != rows(data.train)
    assert again.sha256 == other.sha256 == load("synthetic:10x8", limit=90).sha256


def test_no_validation_is_allowed() -> None:
    data = load("synthetic:10x8", validation=0)
    assert (len(data.train), len(data.validation)) == (1000, 0)


def test_limit_is_exact_stratified_and_nested() -> None:
    small, large, whole = (load("synthetic:10x8", limit=limit) for limit in (90, 450, None))
    assert (len(small.train), len(small.validation), len(small.test)) == (90, 10, 250)
    assert (len(large.train), len(large.validation)) == (450, 50)
    assert small.train.labels.bincount().tolist() == [9] * 10
    assert rows(small.train) < rows(large.train) < rows(whole.train)
    assert rows(small.validation) < rows(large.validation) < rows(whole.validation)


def test_digits_limit_keeps_the_fixed_splits() -> None:
    whole, small = load("digits"), load("digits", limit=100, validation=0.5)
    assert rows(small.train) < rows(whole.train)
    assert len(small.train) == 100
    assert rows(small.validation) == rows(whole.validation)


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("digit", {}, "unknown source 'digit'; did you mean 'digits'?"),
        ("cifar", {}, "did you mean 'cifar10'?"),
        ("zzz", {}, "unknown source 'zzz'; known: cifar10, "),
        ("npx:x", {}, "did you mean 'npz:'?"),
        ("mine.npz", {}, "did you mean 'npz:mine.npz'?"),
        ("npz", {}, "write npz:..."),
        ("digits:8", {}, "did you mean 'digits'?"),
        ("digits", {"validation": 1.0}, "validation=1.0 is not a fraction"),
        ("digits", {"validation": float("nan")}, "validation=nan is not a fraction"),
        ("digits", {"limit": 0}, "limit=0 is not a number of training images"),
        ("digits", {"size": -8}, "size=-8 is not a number of pixels"),
        ("digits", {"limit": 1198}, "at most 1197"),
        ("digits", {"size": 32}, "digits holds 8 x 8 images and is not resized"),
        ("synthetic:10x8", {"limit": 901}, "at most 900"),
        ("synthetic:10x8", {"limit": 9}, "no training image of class 'pattern"),
        ("synthetic:10x8", {"validation": 0.001}, "no validation image of class 'pattern"),
        ("synthetic:10x8", {"validation": 0.999}, "no training image of class 'pattern"),
    ],
)
def test_what_cannot_be_loaded(
    refused: Callable[..., str], source: str, options: dict[str, Any], said: str
) -> None:
    assert said in refused(source, **options)


def test_a_rare_class_is_named_with_its_count(
    npz_file: Callable[..., Path], refused: Callable[..., str]
) -> None:
    path = npz_file(y_train=np.array([0] * 20 + [1] * 19 + [2]), y_test=np.zeros(8, np.int64))
    assert "no validation image of class '2', which has 1 in" in refused(f"npz:{path}")


def test_importing_is_cheap() -> None:
    heavy = "'pyarrow', 'PIL', 'sklearn', 'huggingface_hub', 'rich', 'datasets', 'torchvision'"
    code = f"import sys, reinforced.data; print([name for name in ({heavy}) if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_real_lossless_images(real_data: Path) -> None:
    data = load("npz:cifar10-lossless-6k.npz", root=real_data)
    assert (len(data.train) + len(data.validation), len(data.test)) == (5085, 1017)
    assert data.test.batch(torch.arange(3))[1].tolist() == [3, 8, 8]  # cat, ship, ship: the official order
