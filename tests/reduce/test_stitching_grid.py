"""Overlapping blocks: what they see, and who sees the same."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import HaloError, ShapeError
from volproc.reduce.stitching_grid import OverlapGrid, common, within


@st.composite
def grids(draw: st.DrawFn) -> OverlapGrid:
    """Uneven chunks; halos that are longer than some of them too."""
    ndim = draw(st.sampled_from([2, 3]))
    cuts = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
    return OverlapGrid(
        tuple(draw(cuts) for _ in range(ndim)),
        tuple(draw(st.integers(1, 6)) for _ in range(ndim)),
    )


def voxels(grid: OverlapGrid, region: tuple[slice, ...]) -> np.ndarray:
    seen = np.zeros(grid.shape, bool)
    seen[region] = True
    return seen


@given(grids())
def test_chunks_tile_the_volume_and_blocks_are_as_large_as_the_grid_says(grid) -> None:
    count = np.zeros(grid.shape, int)
    for place, index in enumerate(grid.indices()):
        count[grid.chunk(index)] += 1
        assert grid.ordinal(index) == place
        sizes = [s.stop - s.start for s in grid.block(index)]
        assert sizes == [n[i] for n, i in zip(grid.block_sizes, index, strict=True)]
        outer = within(grid.chunk(index), grid.block(index))
        assert all(s.start >= 0 for s in outer)
    assert (count == 1).all()
    assert len(grid) == place + 1


@given(grids())
def test_partners_and_givers_are_those_that_share_voxels(grid) -> None:
    seen = {index: voxels(grid, grid.block(index)) for index in grid.indices()}
    for index in grid.indices():
        share = [i for i in seen if (seen[i] & seen[index]).any()]
        assert grid.partners(index) == [i for i in share if i > index]
        own = voxels(grid, grid.chunk(index))
        assert grid.givers(index) == [i for i in seen if (seen[i] & own).any()]


@given(grids())
def test_the_common_region_is_what_both_blocks_see(grid) -> None:
    for one, other in product(grid.indices(), grid.indices()):
        if other in grid.partners(one):
            region = common(grid.block(one), grid.block(other))
            both = voxels(grid, grid.block(one)) & voxels(grid, grid.block(other))
            np.testing.assert_array_equal(voxels(grid, region), both)


def test_small_halos_give_13_partners() -> None:
    grid = OverlapGrid(((8,) * 3,) * 3, (4,) * 3)
    assert len(grid.partners((1, 1, 1))) == 13
    assert len(grid.givers((1, 1, 1))) == 27
    assert OverlapGrid(((8, 8), (5,)), (2, 0)).partners((0, 0)) == [(1, 0)]


@pytest.mark.parametrize(
    ("cuts", "halo", "error", "text"),
    [
        (((4, 4), (5,)), (0, 0), HaloError, "halo along y is 0, and there are 2 chunks"),
        (((4,), (5,)), (0, -2), HaloError, "halo along x is -2"),
        (((4, 0), (5,)), (1, 1), ShapeError, r"at least one voxel, got \(4, 0\) along y"),
        (((4, 4), (5,)), (1,), ShapeError, "one entry an axis"),
        (((4, 4),), (1,), ShapeError, "one entry an axis"),
    ],
)
def test_grids_that_cannot_be_are_refused(cuts, halo, error, text) -> None:
    with pytest.raises(error, match=text):
        OverlapGrid(cuts, halo)
