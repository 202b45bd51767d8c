"""Blend weights and their sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map

from volproc.models.windows import FLOOR, make_window, sum_windows, weigh_patch
from volproc.plan.patches import PatchGrid


@pytest.mark.parametrize("sigma_scale", [0.125, 0.25])
@pytest.mark.parametrize("patch", [(5, 8, 7), (16, 12, 9), (1, 4, 6), (32, 24, 40)])
def test_the_window_is_monais_importance_map(patch: tuple, sigma_scale: float) -> None:
    window = make_window(patch, sigma_scale=sigma_scale)
    expected = compute_importance_map(patch, mode="gaussian", sigma_scale=sigma_scale)
    # MONAI's own least weight is applied where it is used, in sliding_window_inference.
    expected = np.maximum(expected.numpy(), max(float(expected.min()), 1e-3))
    assert window.dtype == np.float32
    np.testing.assert_allclose(window, expected, atol=1e-6, rtol=0)


@given(st.tuples(*[st.integers(1, 40)] * 3))
def test_weights_are_between_the_floor_and_one(patch: tuple) -> None:
    window = make_window(patch)
    assert window.min() >= np.float32(FLOOR)
    assert window.max() <= 1
    np.testing.assert_array_equal(window, window[::-1, ::-1, ::-1])


def test_the_constant_window_is_one() -> None:
    np.testing.assert_array_equal(make_window((3, 4, 5), kind="constant"), np.ones((3, 4, 5)))


@st.composite
def grids_and_regions(draw: st.DrawFn) -> tuple[PatchGrid, tuple[slice, ...]]:
    shape = tuple(draw(st.integers(1, 12)) for _ in range(3))
    patch = tuple(draw(st.integers(1, 7)) for _ in range(3))
    grid = PatchGrid(shape, patch, draw(st.sampled_from([0.0, 0.25, 0.5, 0.75])))
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    return grid, tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))


@given(grids_and_regions(), st.sampled_from(["gaussian", "constant"]))
def test_the_sum_is_that_of_all_patches_and_the_same_bits_in_any_region(case, kind) -> None:
    grid, region = case
    window = make_window(grid.patch, kind=kind, sigma_scale=0.2)
    whole = np.zeros(grid.shape)
    for start in grid:
        for offset in np.ndindex(*grid.patch):
            voxel = tuple(a + b for a, b in zip(start, offset, strict=True))
            if all(0 <= v < n for v, n in zip(voxel, grid.shape, strict=True)):
                whole[voxel] += float(window[offset])
    found = sum_windows(grid, region, kind=kind, sigma_scale=0.2)
    assert found.dtype == np.float64
    assert found.tobytes() == whole[region].tobytes()


def test_no_voxel_is_without_weight() -> None:
    grid = PatchGrid((9, 13, 11), (8, 8, 8), 0.0)
    region = tuple(slice(0, n) for n in grid.shape)
    assert sum_windows(grid, region, kind="gaussian", sigma_scale=0.125).min() >= 0.999e-3


@given(grids_and_regions(), st.sampled_from(["gaussian", "constant"]), st.booleans())
def test_weights_of_the_patches_at_a_voxel_sum_up_to_their_share(case, kind, is_turned) -> None:
    grid, _ = case
    if is_turned:
        grid = PatchGrid(grid.shape, grid.patch, grid.overlap, (True, False, True))
    total = np.zeros(grid.shape)
    for start in grid:
        weights = weigh_patch(grid, start, kind=kind, sigma_scale=0.2, share=0.25)
        assert weights.shape == grid.patch
        for offset in np.ndindex(*grid.patch):
            voxel = tuple(a + b for a, b in zip(start, offset, strict=True))
            if all(0 <= v < n for v, n in zip(voxel, grid.shape, strict=True)):
                total[voxel] += weights[offset]
            else:
                assert weights[offset] == 0
    np.testing.assert_allclose(total, 0.25, rtol=1e-6)


def test_weights_of_a_patch_follow_its_window() -> None:
    grid = PatchGrid((9, 13, 11), (8, 8, 8), 0.5)
    kinds = {"kind": "gaussian", "sigma_scale": 0.125}
    found = weigh_patch(grid, (0, 4, 3), share=1.0, **kinds)
    region = (slice(0, 8), slice(4, 12), slice(3, 11))
    expected = make_window((8, 8, 8)) / sum_windows(grid, region, **kinds)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
