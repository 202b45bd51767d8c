"""What of a map is lamella."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from volproc.core.errors import DtypeError, NonFiniteError
from volproc.reduce.lamella_voxels import lamella_voxels

REGION = (slice(4, 5), slice(0, 1), slice(2, 6))


def found(values: list[float], dtype: Any, **choice: Any) -> list[bool]:
    voxels: np.ndarray = np.array(values, dtype).reshape(1, 1, -1)
    chosen: list[bool] = lamella_voxels(voxels, REGION, name="map", **choice).ravel().tolist()
    return chosen


def test_masks_probabilities_and_classes_are_told_apart() -> None:
    assert found([0, 1, 1, 0], np.int8) == [False, True, True, False]
    assert found([0, 1, 1, 0], bool) == [False, True, True, False]
    assert found([0, 0.5, 0.6, 1], np.float32) == [False, False, True, True]
    assert found([0, 0.5, 0.6, 1], np.float32, threshold=0.6) == [False, False, False, True]
    assert found([0.1, 0.5, 0, 1], np.float32, threshold=0.0) == [True, True, False, True]
    assert found([0, 128, 255, 127], np.uint8, threshold=0.5) == [False, True, True, False]
    assert found([0, 2, 3, 2], np.float32, class_value=2) == [False, True, False, True]


@pytest.mark.parametrize(
    ("values", "dtype", "error", "text"),
    [
        ([0, 1, 2, 7], np.uint8, DtypeError, "holds 2, 7 beside 0 and 1.*--class"),
        ([0, 1, -1, 0], np.int16, DtypeError, "holds -1 beside 0 and 1"),
        ([0, 1, 3.5, 0], np.float32, DtypeError, "values from 0 to 3.5, which are no prob"),
        ([0, 1, np.nan, 0], np.float32, NonFiniteError, r"first of a block at .* = \[4, 0, 4\]"),
    ],
)
def test_other_values_are_refused_by_name(
    values: list[float], dtype: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        found(values, dtype)


def test_numbers_with_a_sign_are_no_probabilities() -> None:
    with pytest.raises(DtypeError, match="int16 voxels, and no probabilities"):
        found([0, 1, 2, 3], np.int16, threshold=0.5)
