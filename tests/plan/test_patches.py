"""Laws of the one grid of patches: owners, givers and takers."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import dense_patch_slices
from monai.inferers.utils import _get_scan_interval

from volproc.core.errors import ShapeError
from volproc.plan.blocks import ChunkGrid
from volproc.plan.patches import PatchGrid, neighbours

OVERLAPS = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9)


@st.composite
def patch_grids(draw: st.DrawFn) -> PatchGrid:
    """Any grid of patches, of volumes and micrographs, some smaller than a patch."""
    ndim = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(1, 11)) for _ in range(ndim))
    patch = tuple(draw(st.integers(1, 9)) for _ in range(ndim))
    mirrored = tuple(draw(st.booleans()) for _ in range(ndim))
    return PatchGrid(shape, patch, draw(st.sampled_from(OVERLAPS)), mirrored)


@st.composite
def cut_grids(draw: st.DrawFn) -> tuple[PatchGrid, ChunkGrid]:
    """Patches of a volume, and any cut of it."""
    patches = draw(patch_grids())
    return patches, ChunkGrid(patches.shape, tuple(draw(st.integers(1, 15)) for _ in patches.shape))


def reaches(patches: PatchGrid, start: tuple[int, ...], region: tuple[slice, ...]) -> bool:
    """Whether a patch and a region share a voxel."""
    return all(
        max(a, s.start) < min(a + p, s.stop)
        for a, p, s in zip(start, patches.patch, region, strict=True)
    )


def inside(patches: PatchGrid, start: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(
        slice(max(a, 0), min(a + p, n))
        for a, p, n in zip(start, patches.patch, patches.shape, strict=True)
    )


@given(patch_grids())
def test_every_voxel_is_in_a_patch(patches: PatchGrid) -> None:
    covered = np.zeros(patches.shape, bool)
    for start in patches:
        covered[inside(patches, start)] = True
    assert covered.all()


@given(patch_grids())
def test_patches_are_inside_and_the_last_is_flush_with_the_edge(patches: PatchGrid) -> None:
    for starts, patch, size in zip(patches.starts, patches.patch, patches.shape, strict=True):
        assert list(starts) == sorted(set(starts))
        if patch <= size:
            assert starts[0] == 0
            assert starts[-1] == size - patch


@settings(max_examples=200)
@given(patch_grids())
def test_starts_are_those_of_monai(patches: PatchGrid) -> None:
    # MONAI pads a small volume first, half before and the rest after, and counts from there.
    before = [max(p - n, 0) // 2 for n, p in zip(patches.shape, patches.patch, strict=True)]
    padded = [max(n, p) for n, p in zip(patches.shape, patches.patch, strict=True)]
    ndim = len(padded)
    interval = _get_scan_interval(padded, patches.patch, ndim, [patches.overlap] * ndim)
    expected = [
        tuple(s.start - b for s, b in zip(part, before, strict=True))
        for part in dense_patch_slices(padded, patches.patch, interval)
    ]
    # On a flipped volume they are laid from the far end of this one.
    turned = [
        tuple(
            n - p - a if m else a
            for a, n, p, m in zip(
                start, patches.shape, patches.patch, patches.mirrored, strict=True
            )
        )
        for start in expected
    ]
    assert list(patches) == sorted(turned)
    assert len(patches) == len(expected)


@settings(max_examples=200)
@given(cut_grids())
def test_every_patch_has_exactly_one_owner(cut: tuple[PatchGrid, ChunkGrid]) -> None:
    patches, grid = cut
    owned = [start for block in grid for start in patches.owned(block.write)]
    assert sorted(owned) == list(patches)


@given(cut_grids())
def test_owned_patches_come_in_raster_order(cut: tuple[PatchGrid, ChunkGrid]) -> None:
    patches, grid = cut
    for block in grid:
        owned = patches.owned(block.write)
        assert owned == sorted(owned)


@given(cut_grids())
def test_extent_is_what_the_owned_patches_cover(cut: tuple[PatchGrid, ChunkGrid]) -> None:
    patches, grid = cut
    for block in grid:
        owned = patches.owned(block.write)
        if owned:
            parts = [inside(patches, start) for start in owned]
            expected = tuple(
                slice(min(s.start for s in axis), max(s.stop for s in axis))
                for axis in zip(*parts, strict=True)
            )
            assert patches.extent(owned) == expected


@settings(max_examples=200)
@given(cut_grids())
def test_neighbours_are_all_that_patches_join_and_no_others(
    cut: tuple[PatchGrid, ChunkGrid],
) -> None:
    patches, grid = cut
    joined = {
        (giver.index, taker.index)
        for giver, taker in product(grid, grid)
        if giver.index != taker.index
        and any(reaches(patches, a, taker.write) for a in patches.owned(giver.write))
    }
    found = {b.index: patches.neighbours(grid, b.index) for b in grid}
    assert {(g, i) for i, (givers, _) in found.items() for g in givers} == joined
    assert {(i, t) for i, (_, takers) in found.items() for t in takers} == joined


@given(cut_grids(), st.data())
def test_neighbours_of_several_grids_are_those_of_each(
    cut: tuple[PatchGrid, ChunkGrid], data: st.DataObject
) -> None:
    one, grid = cut
    turned = tuple(not m for m in one.mirrored)
    other = PatchGrid(one.shape, one.patch[::-1], data.draw(st.sampled_from(OVERLAPS)), turned)
    for index in grid.indices():
        givers, takers = neighbours((one, other), grid, index)
        apart = [patches.neighbours(grid, index) for patches in (one, other)]
        assert givers == sorted({j for found, _ in apart for j in found})
        assert takers == sorted({j for _, found in apart for j in found})


@given(cut_grids())
def test_givers_come_before_and_takers_after_in_raster_order(
    cut: tuple[PatchGrid, ChunkGrid],
) -> None:
    patches, grid = cut
    for block in grid:
        givers, takers = patches.neighbours(grid, block.index)
        assert all(giver < block.index for giver in givers)
        assert all(taker > block.index for taker in takers)
        assert len(set(givers)) == len(givers)
        assert len(set(takers)) == len(takers)


def test_a_patch_larger_than_the_volume_is_centred_on_it() -> None:
    patches = PatchGrid(shape=(5, 7, 20), patch=(8, 10, 8), overlap=0.5)
    assert patches.starts == ((-1,), (-1,), (0, 4, 8, 12))
    assert patches.is_padded
    assert patches.small_axes == "zy"


def test_axes_of_a_micrograph_are_named_y_and_x() -> None:
    assert PatchGrid(shape=(20, 7), patch=(8, 8)).small_axes == "x"


@pytest.mark.parametrize("overlap", [-0.1, 1.0, 1.5])
def test_an_overlap_that_does_not_advance_is_refused(overlap: float) -> None:
    with pytest.raises(ShapeError, match=rf"overlap {overlap} is outside \[0, 1\)"):
        PatchGrid((8, 8, 8), (4, 4, 4), overlap)


@pytest.mark.parametrize(
    ("shape", "patch"), [((8, 8), (4, 4, 4)), ((0, 8, 8), (4, 4, 4)), ((8, 8, 8), (4, 0, 4))]
)
def test_sizes_that_do_not_match_or_are_not_positive_are_refused(shape, patch) -> None:
    with pytest.raises(ShapeError, match="need the same axes, all positive"):
        PatchGrid(shape, patch)
