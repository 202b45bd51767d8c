"""Scaling of voxels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volproc.models.normalization import Scaling


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", ">i2", "i4", "f2", "f4", "f8", "?"])
def test_every_real_type_becomes_scaled_float32(dtype: str) -> None:
    block = np.array([[0, 1, 2], [3, 4, 5]]).astype(dtype)
    before = block.copy()
    scaled = Scaling(shift=2.0, scale=4.0)(block)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, (block.astype(np.float32) - 2) / 4)
    np.testing.assert_array_equal(block, before)


@given(arrays(np.float32, 40, elements=st.floats(-1e6, 1e6, width=32)), st.integers(0, 39))
def test_a_voxel_has_the_same_bits_wherever_its_block_begins(line, cut: int) -> None:
    scaling = Scaling(shift=0.3, scale=1.7)
    parts = [scaling(line[:cut]), scaling(line[cut:])]
    assert np.concatenate(parts).tobytes() == scaling(line).tobytes()


def test_voxels_that_are_no_numbers_are_replaced_before_scaling() -> None:
    block = np.array([np.nan, np.inf, -np.inf, 7.0], np.float32)
    np.testing.assert_array_equal(Scaling(1.0, 2.0, replacement=5.0)(block), [2, 2, 2, 3])


def test_without_a_replacement_they_stay() -> None:
    block = np.array([np.nan, np.inf], np.float32)
    scaled = Scaling()(block)
    assert np.isnan(scaled[0])
    assert np.isinf(scaled[1])


def test_it_says_itself_in_plain_values() -> None:
    assert Scaling(1.0, 2.0).to_json() == {"shift": 1.0, "scale": 2.0, "replacement": None}
