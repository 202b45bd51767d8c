"""Distances in one block: scipy's, up to a bound."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError, DtypeError, ShapeError, VoxelSizeError
from volproc.reduce.distance import check_distance, distance_block, halo_of

SHAPE = (5, 7, 11)


def expected_distance(mask, max_distance, voxel_size=None) -> np.ndarray:
    """Scipy's distance, where there is any background."""
    if mask.all():
        return np.full(mask.shape, max_distance, np.float32)
    whole = ndi.distance_transform_edt(mask, sampling=voxel_size)
    return np.minimum(whole, max_distance).astype(np.float32)


def whole(mask: np.ndarray) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in mask.shape)


masks = st.tuples(
    st.integers(0, 9999), st.sampled_from([0.3, 0.9, 0.98]), st.sampled_from([SHAPE, (9, 13)])
).map(lambda t: np.random.default_rng(t[0]).random(t[2]) < t[1])
sizes = st.sampled_from([None, (1.5, 1.0, 3.25), (2.0, 2.0, 2.0)])


@given(masks, sizes, st.sampled_from([0.5, 1.0, 2.5, 4.0, 1e6]))
def test_distances_are_scipys_up_to_the_bound(mask, voxel_size, max_distance) -> None:
    voxel_size = voxel_size and voxel_size[-mask.ndim :]
    found = distance_block(mask, whole(mask), max_distance, voxel_size=voxel_size)
    expected = expected_distance(mask, max_distance, voxel_size)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


@given(st.integers(0, 9999), sizes, st.sampled_from([1.0, 2.5, 1e6]))
def test_labels_are_measured_one_by_one(seed, voxel_size, max_distance) -> None:
    labels = np.random.default_rng(seed).integers(-1, 3, SHAPE)
    expected = sum(
        np.where(labels == value, expected_distance(labels == value, max_distance, voxel_size), 0)
        for value in (-1, 1, 2)
    )
    found = distance_block(
        labels, whole(labels), max_distance, voxel_size=voxel_size, per_label=True
    )
    np.testing.assert_array_equal(found, expected)


@given(masks, st.sampled_from([1.0, 2.5, 3.0]), st.data())
def test_a_core_needs_no_more_than_its_halo(mask, max_distance, data) -> None:
    expected = expected_distance(mask, max_distance)
    (halo, *_) = halo_of(max_distance, None, mask.ndim)
    core = []
    for size in mask.shape:
        start = data.draw(st.integers(0, size - 1))
        core.append(slice(start, data.draw(st.integers(start + 1, size))))
    read = tuple(
        slice(max(0, s.start - halo), min(n, s.stop + halo))
        for s, n in zip(core, mask.shape, strict=True)
    )
    inner = tuple(
        slice(c.start - r.start, c.stop - r.start) for c, r in zip(core, read, strict=True)
    )
    found = distance_block(mask[read], inner, max_distance)
    np.testing.assert_array_equal(found, expected[tuple(core)])


def test_a_volume_without_background_is_at_the_bound_everywhere() -> None:
    mask = np.ones(SHAPE, bool)
    np.testing.assert_array_equal(distance_block(mask, whole(mask), 3.5), np.full(SHAPE, 3.5))
    assert not distance_block(~mask, whole(mask), 3.5).any()


def test_what_is_not_zero_is_one_mask() -> None:
    labels = np.random.default_rng(0).integers(0, 3, SHAPE).astype(np.int16)
    np.testing.assert_array_equal(
        distance_block(labels, whole(labels), 4.0), expected_distance(labels > 0, 4.0)
    )


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"shape": (4,)}, ShapeError, r"got shape \(4,\)"),
        ({"shape": (0, 4)}, ShapeError, r"got shape \(0, 4\)"),
        ({"dtype": np.dtype("f4")}, DtypeError, "got float32.*threshold"),
        ({"max_distance": 0}, ConfigError, "greatest distance is 0"),
        ({"max_distance": np.inf}, ConfigError, "greatest distance is inf.*along z, y, x"),
        ({"max_distance": np.nan}, ConfigError, "greatest distance is nan"),
        ({"voxel_size": (1.0, 0.0, 1.0)}, VoxelSizeError, "along y is 0"),
        ({"voxel_size": (1.0, 1.0)}, VoxelSizeError, "one number an axis"),
    ],
)
def test_what_has_no_distance_is_refused(change, error, text) -> None:
    arguments = {"shape": SHAPE, "dtype": np.dtype(bool), "max_distance": 2.0, "voxel_size": None}
    with pytest.raises(error, match=text):
        check_distance(**(arguments | change))
