"""Raster indices of blocks in their volume."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.plan.blocks import ChunkGrid
from volproc.reduce.placement import global_index


@settings(deadline=None, max_examples=50)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.tuples(*[st.integers(1, 5)] * 3))
def test_global_index_is_the_raster_index_of_the_voxel(
    shape: tuple[int, ...], chunks: tuple[int, ...]
) -> None:
    volume = np.arange(np.prod(shape)).reshape(shape)
    for block in ChunkGrid(shape, chunks):
        part = volume[block.write]
        offset = tuple(s.start for s in block.write)
        found = global_index(np.arange(part.size), part.shape, offset, shape)
        np.testing.assert_array_equal(found, part.ravel())


def test_global_index_holds_volumes_beyond_32_bits() -> None:
    found = global_index(np.array([0]), (1, 1, 1), (9999, 0, 5), (10_000, 50_000, 50_000))
    assert found.tolist() == [9999 * 50_000 * 50_000 + 5]
