from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from reinforced.data.pixels import check_every, check_within, image_array, label_array, numbered
from reinforced.errors import ReinforcedError

BYTES = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


def refusal(array: Any) -> str:
    with pytest.raises(ReinforcedError) as caught:
        image_array(np.asarray(array), "X")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_that_are_bytes_come_back_as_bytes(dtype: Any) -> None:
    assert np.array_equal(image_array((BYTES / 255).astype(dtype), "X"), BYTES)


def test_layouts() -> None:
    assert np.array_equal(image_array(BYTES.transpose(0, 3, 1, 2), "X"), BYTES)
    assert np.array_equal(image_array(BYTES[..., 0], "X"), BYTES[..., :1])
    assert image_array(BYTES.transpose(0, 3, 1, 2), "X").flags.c_contiguous


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((2, 3, 8, 3), np.uint8), "either end could be channels"),
        (np.zeros((2, 8, 8, 4), np.uint8), "1 or 3 channels"),
        (np.zeros((2, 8), np.uint8), "expected (N, H, W, C)"),
        (np.zeros((0, 8, 8, 3), np.uint8), "is empty"),
        (np.zeros((2, 8, 8, 3), np.int64), "holds int64, expected uint8"),
        (np.zeros((2, 8, 8, 3), bool), "holds bool, expected uint8"),
        (np.full((2, 8, 8, 3), np.nan, np.float32), "NaN"),
        (np.full((2, 8, 8, 3), np.inf, np.float32), "NaN or infinite"),
        ((BYTES / 255 - 0.5) / 0.25, "look normalised; give pixels as uint8 or [0, 1]; normalisation lives"),
        ((BYTES / 100.0) ** 2, "look normalised"),
        (BYTES.astype(np.float32), "holds floats up to 119"),
        (BYTES / 254.0, "they are not 8-bit pixels"),
    ],
)
def test_what_is_not_pixels_is_refused(array: Any, said: str) -> None:
    assert said in refusal(array)


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=5, max_side=4)))
def test_any_array_is_uint8_images_or_refused(array: Any) -> None:
    try:
        images = image_array(array, "X")
    except ReinforcedError:
        return
    assert images.dtype == np.uint8
    assert images.ndim == 4
    assert images.shape[3] in (1, 3)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=2, max_side=4)), st.integers(0, 4)
)
def test_any_array_is_labels_or_refused(array: Any, count: int) -> None:
    try:
        labels = label_array(array, count, "y")
    except ReinforcedError:
        return
    assert labels.dtype == np.int64
    assert labels.shape == (count,)
    assert labels.min() >= 0


@pytest.mark.parametrize(
    ("array", "said"),
    [
        ([0.0, 1.0], "holds float64"),
        ([-1, 1], "label -1"),
        ([0, 1, 2], "3 labels for 2 images"),
        (np.eye(2, 3), "one-hot"),
        (np.array([2**63, 1], np.uint64), "label 9223372036854775808"),
        ([], "is empty"),
        (np.array([], np.int64), "is empty"),
        (np.array(1), "shape ()"),
    ],
)
def test_what_is_not_labels_is_refused(array: Any, said: str) -> None:
    with pytest.raises(ReinforcedError) as caught:
        label_array(np.asarray(array), 2, "y")
    assert said in str(caught.value)


def test_columns_of_labels_are_flattened() -> None:
    assert label_array(np.array([[1], [0]], np.uint8), 2, "y").tolist() == [1, 0]


def test_classes() -> None:
    labels = np.array([0, 2, 2])
    assert numbered(labels, "y") == ("0", "1", "2")
    with pytest.raises(ReinforcedError, match="label 3 but only 3 images"):
        numbered(labels + 1, "y")
    check_within(labels, ["a", "b", "c"], "y")
    with pytest.raises(ReinforcedError, match="label 2, outside the 2 classes 0 to 1"):
        check_every(labels, ["a", "b"], "y")
    with pytest.raises(ReinforcedError, match=r"no image of class 'b' \(label 1\)"):
        check_every(labels, ["a", "b", "c"], "y")
