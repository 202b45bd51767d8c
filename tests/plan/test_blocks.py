"""Laws of the chunk grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import HaloError, ShapeError
from volproc.plan.blocks import ChunkGrid


@st.composite
def grids(draw: st.DrawFn) -> ChunkGrid:
    """Any legal grid over a small volume or micrograph."""
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(1, 12)) for _ in range(ndim))
    chunks = tuple(draw(st.integers(1, 8)) for _ in range(ndim))
    halo = tuple(draw(st.integers(0, chunk)) for chunk in chunks)
    return ChunkGrid(shape, chunks, halo)


@given(grids())
def test_write_regions_tile_the_volume(grid: ChunkGrid) -> None:
    writes = np.zeros(grid.shape, int)
    for block in grid:
        writes[block.write] += 1
    assert (writes == 1).all()


@given(grids())
def test_crop_of_what_was_read_is_what_is_written(grid: ChunkGrid) -> None:
    volume = np.arange(np.prod(grid.shape)).reshape(grid.shape)
    for block in grid:
        np.testing.assert_array_equal(volume[block.read][block.crop], volume[block.write])


@given(grids())
def test_read_is_write_grown_by_the_halo_and_clipped(grid: ChunkGrid) -> None:
    for block in grid:
        for read, write, halo, size in zip(
            block.read, block.write, grid.halo, grid.shape, strict=True
        ):
            assert read.start == max(0, write.start - halo)
            assert read.stop == min(size, write.stop + halo)


@given(grids())
def test_blocks_come_in_raster_order_and_are_counted(grid: ChunkGrid) -> None:
    indices = [block.index for block in grid]
    assert indices == sorted(indices) == list(grid.indices())
    assert len(indices) == len(grid) == len(set(indices))
    assert indices[-1] == tuple(n - 1 for n in grid.numblocks)


@given(grids())
def test_dask_chunks_are_the_sizes_of_the_write_regions(grid: ChunkGrid) -> None:
    for block in grid:
        sizes = tuple(cut[i] for cut, i in zip(grid.dask_chunks, block.index, strict=True))
        assert sizes == tuple(s.stop - s.start for s in block.write)


@pytest.mark.parametrize(("axis", "halo"), [("z", (9, 0, 0)), ("y", (0, 9, 0)), ("x", (0, 0, 9))])
def test_halo_larger_than_chunk_names_the_axis_and_the_cure(axis: str, halo: tuple) -> None:
    with pytest.raises(HaloError, match=f"halo 9 exceeds chunk 8 along {axis}: .* at least 9 voxe"):
        ChunkGrid(shape=(16, 16, 16), chunks=(8, 8, 8), halo=halo)


def test_halo_of_a_micrograph_is_named_by_its_own_axes() -> None:
    with pytest.raises(HaloError, match="halo 9 exceeds chunk 8 along y"):
        ChunkGrid(shape=(16, 16), chunks=(8, 8), halo=(9, 0))


def test_halo_may_exceed_an_axis_that_is_not_cut() -> None:
    (block,) = ChunkGrid(shape=(8, 8, 8), chunks=(8, 8, 8), halo=(9, 0, 0))
    assert block.read == block.write


@pytest.mark.parametrize(
    ("shape", "chunks", "halo"),
    [
        ((0, 4, 4), (2, 2, 2), ()),
        ((4, 4, 4), (2, 0, 2), ()),
        ((4, 4, 4), (2, 2, 2), (0, -1, 0)),
        ((4, 4, 4), (2, 2), ()),
        ((4, 4), (2, 2), (1, 1, 1)),
    ],
)
def test_impossible_sizes_are_refused_with_what_was_got(shape, chunks, halo) -> None:
    with pytest.raises(ShapeError, match=rf"shape \({shape[0]}, "):
        ChunkGrid(shape, chunks, halo)
