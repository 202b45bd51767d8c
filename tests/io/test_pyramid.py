from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import block_reduce

from volproc.io.pyramid import (
    COARSEST,
    SMALLEST,
    LevelParts,
    PyramidLevel,
    level_steps,
    plan_levels,
    shrink,
)

sizes = st.integers(1, 700)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(sizes, sizes, sizes),
    spacing=st.tuples(*[st.sampled_from([5.0, 10.0, 40.0])] * 3),
)
def test_levels_shrink_to_the_coarsest_and_keep_the_extent(shape, spacing):
    levels = plan_levels(shape, spacing, (1.0, 2.0, 3.0), "intensity")
    assert levels[0].shape == shape
    assert max(levels[-1].shape) <= COARSEST
    for fine, coarse in pairwise(levels):
        for axis in range(3):
            step = coarse.factors[axis] // fine.factors[axis]
            assert step in (1, 2)
            assert coarse.shape[axis] == -(-fine.shape[axis] // step)
            assert step == 1 or fine.shape[axis] > SMALLEST
            assert coarse.voxel_size[axis] == fine.voxel_size[axis] * step
            # The near face of the volume stays where it is.
            face = [v.origin[axis] - v.voxel_size[axis] / 2 for v in (fine, coarse)]
            assert face[0] == pytest.approx(face[1])


def test_a_coarse_axis_waits_for_the_others():
    levels = plan_levels((200, 600, 600), (40.0, 10.0, 10.0), (0.0,) * 3, "labels")
    assert [v.factors for v in levels] == [(1, 1, 1), (1, 2, 2), (1, 4, 4), (2, 8, 8)]


def test_a_small_volume_has_one_level():
    assert len(plan_levels((5, 7, 128), (10.0,) * 3, (0.0,) * 3, "intensity")) == 1


steps = st.tuples(*[st.sampled_from([1, 2])] * 3)


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(*[st.integers(1, 9)] * 3), steps=steps)
def test_even_parts_equal_the_means_of_scikit_image(shape, steps):
    block = np.random.default_rng(0).random(shape)
    coarse = shrink(block, steps, "intensity")
    assert coarse.shape == tuple(-(-n // s) for n, s in zip(shape, steps, strict=True))
    even = tuple(slice(0, n // s * s) for n, s in zip(shape, steps, strict=True))
    if block[even].size:
        expected = block_reduce(block[even], steps, np.mean)
        np.testing.assert_allclose(coarse[tuple(slice(0, n) for n in expected.shape)], expected)
    assert block.min() <= coarse.min()
    assert coarse.max() <= block.max()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.float16, np.float32])
def test_a_constant_stays_what_it_is(dtype):
    value = 60000 if dtype == np.float16 else np.iinfo(dtype).max if dtype != np.float32 else 3e38
    value = 2**52 + 1 if dtype == np.int64 else value
    block = np.full((3, 5, 4), value, dtype)
    np.testing.assert_array_equal(shrink(block, (2, 2, 2), "intensity"), block[::2, ::2, ::2])


def test_the_input_is_left_alone():
    block = np.arange(385.0).reshape(5, 7, 11)
    before = block.copy()
    shrink(block, (2, 2, 2), "intensity")[...] = 0
    shrink(block, (1, 1, 1), "labels")[...] = 0
    np.testing.assert_array_equal(block, before)


@pytest.mark.parametrize("kind", ["intensity", "labels"])
def test_part_by_part_equals_at_once(kind):
    volume = np.random.default_rng(1).random((9, 13, 140))
    fine = PyramidLevel(volume.shape, (1, 1, 1), (1.0,) * 3, (0.0,) * 3)
    coarse = PyramidLevel((9, 7, 70), (1, 2, 2), (1.0, 2.0, 2.0), (0.0,) * 3)
    out = np.full(coarse.shape, np.nan)
    num_read = 0
    for region, source in LevelParts(fine, coarse, (2, 3, 4)):
        assert np.isnan(out[region]).all()
        out[region] = shrink(volume[source], level_steps(fine, coarse), kind)
        num_read += volume[source].size
    np.testing.assert_array_equal(out, shrink(volume, (1, 2, 2), kind))
    assert num_read == volume.size


def test_parts_of_a_huge_level_are_made_when_they_are_asked_for():
    side = 2**16
    fine = PyramidLevel((side,) * 3, (1,) * 3, (1.0,) * 3, (0.0,) * 3)
    coarse = PyramidLevel((side // 2,) * 3, (2,) * 3, (2.0,) * 3, (0.5,) * 3)
    parts = LevelParts(fine, coarse, (64, 64, 64))
    assert len(parts) == 512 * 512 * 512 // 2
    assert parts[0].region == (slice(0, 64), slice(0, 64), slice(0, 128))
    assert parts[-1].source == (
        slice(side - 128, side),
        slice(side - 128, side),
        slice(side - 256, side),
    )
    assert parts[1:3] == (parts[1], parts[2])
    with pytest.raises(IndexError):
        parts[len(parts)]
