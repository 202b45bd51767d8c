"""Components of blocks that arrive one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.graph.components import Collector, label_chunk
from volproc.plan.blocks import ChunkGrid

SHAPE = (6, 7, 9)


@given(
    st.integers(0, 999),
    st.tuples(*[st.integers(1, 7)] * 3),
    st.sampled_from([1, 2, 3]),
    st.randoms(use_true_random=False),
)
def test_reports_in_any_order_give_the_objects_of_scipy(seed, chunks, connectivity, random) -> None:
    mask = np.random.default_rng(seed).random(SHAPE) < 0.4
    grid = ChunkGrid(SHAPE, chunks)
    indices = list(grid.indices())
    random.shuffle(indices)
    collector = Collector(grid.numblocks, connectivity)
    for index in indices:
        region = grid[index].write
        offset = tuple(s.start for s in region)
        collector.add(index, label_chunk(mask[region], index, offset, SHAPE, connectivity, None))
    table = collector.finish()
    labels, count = ndi.label(mask, ndi.generate_binary_structure(3, connectivity))
    np.testing.assert_array_equal(table.count, np.bincount(labels.ravel())[1:])
    expected = ndi.center_of_mass(mask, labels, range(1, count + 1))
    np.testing.assert_allclose(table.centroids, np.reshape(expected, (-1, 3)), atol=1e-9)


def test_faces_that_nobody_needs_are_forgotten() -> None:
    shape = (40, 6, 6)
    mask = np.ones(shape, bool)
    grid = ChunkGrid(shape, (2, 3, 3))
    collector = Collector(grid.numblocks, 3)
    most = 0
    for index in grid.indices():
        region = grid[index].write
        offset = tuple(s.start for s in region)
        collector.add(index, label_chunk(mask[region], index, offset, shape, 3, None))
        most = max(most, len(collector._faces))
    assert most <= 3 * 4  # of 80: three layers
    assert len(collector._faces) == 0
    assert list(collector.finish().count) == [mask.size]


def test_no_block_has_an_object() -> None:
    grid = ChunkGrid((4, 4, 4), (2, 4, 4))
    collector = Collector(grid.numblocks, 1)
    for index in grid.indices():
        empty = np.zeros((2, 4, 4), np.uint8)
        collector.add(index, label_chunk(empty, index, (2 * index[0], 0, 0), (4, 4, 4), 1, None))
    assert len(collector.finish()) == 0
