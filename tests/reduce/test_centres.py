"""Sizes that objects must have to be particles."""

from math import pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.core.errors import ConfigError, VoxelSizeError
from volproc.reduce.centres import filter_by_size, size_limits
from volproc.reduce.objects import measure_block
from volproc.reduce.properties import finish


@settings(deadline=None, max_examples=100)
@given(
    st.floats(10, 500),
    st.tuples(*[st.floats(1, 30)] * 3),
    st.floats(0.01, 1),
    st.floats(1, 3),
    st.integers(0, 10**6),
)
def test_limits_are_those_of_balls_both_ends_allowed(
    radius: float, voxel_size: tuple[float, ...], low: float, high: float, count: int
) -> None:
    min_voxels, max_voxels = size_limits(radius, voxel_size, low, high)
    angstrom3 = count * voxel_size[0] * voxel_size[1] * voxel_size[2]
    fits = 4 / 3 * pi * (radius * low) ** 3 <= angstrom3 <= 4 / 3 * pi * (radius * high) ** 3
    assert (min_voxels <= count <= max_voxels) == fits


def test_limits_equal_octopis_in_equal_voxels() -> None:
    r = 150 / 10.012
    low, high = size_limits(150, (10.012,) * 3, 0.5, 1.0)
    assert low == np.ceil(4 / 3 * pi * (r * 0.5) ** 3)
    assert high == np.floor(4 / 3 * pi * r**3)


def test_a_micrograph_has_discs() -> None:
    assert size_limits(30, (10, 5), 0, 1) == (0, int(pi * 900 / 50))


def test_bad_input_is_named_with_its_cure() -> None:
    with pytest.raises(ConfigError, match=r"radius is 0 Å. Give a positive one"):
        size_limits(0, (10, 10, 10))
    with pytest.raises(ConfigError, match=r"from 2 to 1.0. Give a smaller one first"):
        size_limits(60, (10, 10, 10), min_scale=2)
    with pytest.raises(VoxelSizeError, match=r"along y is -1"):
        size_limits(60, (10, -1, 10))


def test_both_limits_are_allowed() -> None:
    labels = np.array([[1, 2, 2, 3, 3, 3, 4, 4, 4, 4]])
    table = measure_block(labels, offset=(0, 0), shape=labels.shape)
    assert filter_by_size(table, min_voxels=2, max_voxels=3).label.tolist() == [2, 3]
    assert filter_by_size(table, min_voxels=3).label.tolist() == [3, 4]
    frame = finish(table)
    kept = filter_by_size(frame, min_voxels=2, max_voxels=3)
    assert kept["label"].tolist() == [2, 3]
    assert kept.index.tolist() == [0, 1]
    assert len(frame) == 4
