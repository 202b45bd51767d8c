"""What passes keep tiles a volume, in cuts that storage chunks divide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import PlanError
from volproc.plan.tile_grid import TileGrid
from volproc.plan.tile_plan import TilePlan
from volproc.plan.tiles import HaloTiles, QuarterTiles

sides = st.tuples(*[st.integers(1, 60)] * 2)


@given(sides, st.sampled_from([(8, 16), (16, 24)]), st.booleans(), st.integers(1, 3))
def test_every_voxel_is_kept_by_one_pass(
    shape: tuple[int, int], size: tuple[int, int], is_halo: bool, batch: int
) -> None:
    tiles = HaloTiles(shape, size, 8, 8) if is_halo else QuarterTiles(shape, size)
    grid = TileGrid(tiles, 1 if is_halo else batch)
    count = np.zeros(shape, int)
    for block in grid:
        count[block.write] += 1
        pairs = zip(block.read, block.write, strict=True)
        assert all(r.start <= w.start < w.stop <= r.stop for r, w in pairs)
        for side, chunk, total in zip(block.write, grid.chunks, shape, strict=True):
            assert side.start % chunk == 0
            assert side.stop % chunk == 0 or side.stop == total
    assert (count == 1).all()
    assert tuple(map(sum, grid.dask_chunks)) == shape
    assert len(grid) == len(list(grid.indices()))


def test_a_plan_refuses_what_does_not_fit_with_both_numbers() -> None:
    grid = TileGrid(HaloTiles((40, 50, 60), (16, 16, 24), 8, 8))
    plan = TilePlan(
        grid, itemsize=2, storage_chunks=(1, 50, 60), num_classes=3, num_sweeps=2, work=3.5,
        network_bytes=10**9, tile_bytes=10**6, sum_bytes=8, stored_bytes=6, host_limit=10**9,
    )  # fmt: skip
    assert plan.num_passes == 2 * 3 * 4 * 3
    assert plan.host_bytes > 1.8e9
    # Each tile along z reads 8 voxels more on each side, all of y and x.
    assert plan.read_bytes == 2 * 2 * (24 + 32 + 16) * 4 * 50 * 3 * 60
    assert "3.50 times the network's" in plan.explain()
    need = plan.host_bytes / 1e9
    with pytest.raises(PlanError, match=rf"needs {need:.3g} GB on the host, a worker has 1 GB"):
        plan.validate()
