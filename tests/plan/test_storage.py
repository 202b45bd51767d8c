"""Storage chunks that are proposed, and what it costs to read them again."""

from __future__ import annotations

from itertools import product
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.plan.blocks import ChunkGrid
from volproc.plan.storage import decoded_ratio, reading_grid, storage_chunks


@given(st.tuples(*[st.integers(1, 5000)] * 3))
def test_storage_chunks_divide_blocks_and_are_neither_tiny_nor_huge(blocks) -> None:
    for chunk, block in zip(storage_chunks(blocks), blocks, strict=True):
        assert block % chunk == 0
        assert chunk >= min(block, 32)
        assert chunk <= 128 or all(block % c for c in range(32, 129))


@pytest.mark.parametrize("block", [64, 128, 192, 256])
def test_two_storage_chunks_a_side_at_least_make_a_block(block: int) -> None:
    assert block // storage_chunks((block,) * 3)[0] >= 2


@given(
    st.tuples(*[st.integers(1, 20)] * 3),
    st.tuples(*[st.integers(2, 9)] * 3),
    st.tuples(*[st.integers(0, 2)] * 3),
    st.tuples(*[st.integers(1, 6)] * 3),
)
def test_the_ratio_counts_every_chunk_that_a_block_touches(shape, blocks, halo, chunks) -> None:
    grid = ChunkGrid(shape, blocks, halo)
    total = 0
    for block in grid:
        touched = [
            {v // c for v in range(s.start, s.stop)}
            for s, c in zip(block.read, chunks, strict=True)
        ]
        for index in product(*touched):
            sides = [
                min((i + 1) * c, n) - i * c for i, c, n in zip(index, chunks, shape, strict=True)
            ]
            total += prod(sides)
    assert decoded_ratio(grid, chunks) == pytest.approx(total / prod(shape))


def test_half_a_block_a_side_decodes_a_third_of_what_whole_blocks_do() -> None:
    # Far from the edges: 27 blocks for one, against 64 pieces of an eighth of a block.
    grid = ChunkGrid((12_800,) * 3, (128,) * 3, (16,) * 3)
    assert decoded_ratio(grid, (128,) * 3) == pytest.approx(27, rel=0.03)
    assert decoded_ratio(grid, storage_chunks((128,) * 3)) == pytest.approx(8, rel=0.03)


def test_a_reading_stage_takes_whole_chunks_and_several_of_them() -> None:
    assert reading_grid((4096,) * 3, (64, 64, 64)).chunks == (256, 256, 256)
    assert reading_grid((9, 2000, 2000), (1, 2000, 2000), max_voxels=10**6).chunks == (
        1,
        2000,
        2000,
    )
    assert reading_grid((50, 60, 70), (64, 64, 64)).chunks == (50, 60, 70)
