"""Blocks in a bounded cache: the voxels of the source, each block read once while there is room."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.types import Region
from volproc.training.block_cache import LEAST_SIDE, BlockCache, CachedSource

SHAPE = (40, 70, 45)
VOXELS = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)


class Counted:
    """A source that knows what was read."""

    shape, dtype, chunks = SHAPE, VOXELS.dtype, (10, 16, 45)

    def __init__(self) -> None:
        self.reads: list[Region] = []

    def read(self, region: Region) -> np.ndarray:
        self.reads.append(region)
        return VOXELS[region].copy()

    def identity(self) -> str:
        return "counted"


@given(data=st.data(), num_bytes=st.sampled_from([0, 60_000, 10**9]))
def test_every_region_is_what_the_source_holds_and_memory_is_bounded(data, num_bytes: int) -> None:
    cache = BlockCache(num_bytes)
    source = CachedSource(Counted(), cache)
    for _ in range(3):
        edges = [
            sorted(data.draw(st.sets(st.integers(0, n), min_size=2, max_size=2))) for n in SHAPE
        ]
        region = tuple(slice(a, b) for a, b in edges)
        np.testing.assert_array_equal(source.read(region), VOXELS[region])
        assert cache.held == sum(block.nbytes for block in cache.blocks.values()) <= num_bytes


def test_blocks_are_whole_chunks_and_are_read_once_while_there_is_room() -> None:
    counted = Counted()
    source = CachedSource(counted, BlockCache(10**9))
    whole = tuple(slice(0, n) for n in SHAPE)
    for _ in range(2):
        source.read(whole)
    assert len(counted.reads) == 3  # 40 planes and 45 columns are one block
    for region in counted.reads:
        for side, chunk, n in zip(region, counted.chunks, SHAPE, strict=True):
            assert side.start % chunk == 0
            assert side.stop - side.start >= min(LEAST_SIDE, n) or side.stop == n


def test_the_least_recently_used_block_is_given_up_first() -> None:
    counted = Counted()
    size = 40 * 32 * 45  # one block
    source = CachedSource(counted, BlockCache(2 * size))
    first, second, third = ((slice(0, 1), slice(y, y + 1), slice(0, 1)) for y in (0, 32, 64))
    for region in (first, second, first, third, first, second):
        source.read(region)
    places = [region[1].start for region in counted.reads]
    assert places[:3] == [0, 32, 64]
    assert 0 not in places[3:]
