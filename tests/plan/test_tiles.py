"""Tiles: every voxel is kept once, cuts lie where networks allow."""

from __future__ import annotations

import numpy as np
import pytest

from volproc.core.errors import ShapeError
from volproc.plan.tiles import HaloTiles, QuarterTiles, even_core, iterate_tiles, network_work


@pytest.mark.parametrize("size", range(1, 70))
def test_every_voxel_is_kept_once_and_is_read(size: int) -> None:
    for tiles in (QuarterTiles((size,), (16,)), HaloTiles((size,), (24,), 16, 8)):
        kept = np.zeros(size, int)
        for index in iterate_tiles(tiles):
            (read,), (keep,) = tiles[index]
            kept[keep] += 1
            assert read.start <= keep.start < keep.stop <= read.stop
        assert (kept == 1).all()


def test_quarters_are_cropped_inside_and_kept_at_the_borders() -> None:
    tiles = QuarterTiles((40,), (16,))
    assert [(t.read[0].start, t.keep[0]) for t in map(tiles.__getitem__, iterate_tiles(tiles))] == [
        (0, slice(0, 12)), (8, slice(12, 20)), (16, slice(20, 28)), (24, slice(28, 36)),
        (32, slice(36, 40)),
    ]  # fmt: skip


def test_halos_end_at_the_borders_and_cuts_are_multiples_of_the_step() -> None:
    tiles = HaloTiles((100,), (40,), 16, 8)
    assert [tiles[i].read[0] for i in iterate_tiles(tiles)] == [
        slice(0, 56), slice(24, 96), slice(64, 100),
    ]  # fmt: skip


def test_a_large_tomogram_takes_a_third_of_the_work_of_half_overlaps() -> None:
    shape = (464, 960, 928)
    core = (even_core(464, 208, 8), even_core(960, 208, 8), even_core(928, 208, 8))
    # 1800 patches of 128 voxels are 9.13 voxels through the network a voxel.
    assert network_work(HaloTiles(shape, core, 48, 8)) < 0.4 * 9.13
    assert network_work(QuarterTiles(shape, (128, 128, 128))) == pytest.approx(7.458, abs=1e-3)


@pytest.mark.parametrize(
    ("core", "halo"), [((12,), 16), ((16,), 12), ((0,), 16), ((16, 16), 16), ((16,), -8)]
)
def test_cores_and_halos_that_do_not_fit_are_refused(core: tuple[int, ...], halo: int) -> None:
    with pytest.raises(ShapeError, match="multiples of 8"):
        HaloTiles((64,), core, halo, 8)


def test_a_slab_has_planes() -> None:
    with pytest.raises(ShapeError, match="got a slab of 0"):
        HaloTiles((64,), (16,), 16, 8, slab=0)


def test_patches_without_quarters_and_empty_volumes_are_refused() -> None:
    with pytest.raises(ShapeError, match="multiples of 4"):
        QuarterTiles((64,), (30,))
    with pytest.raises(ShapeError, match="nothing to cut"):
        QuarterTiles((0,), (32,))
