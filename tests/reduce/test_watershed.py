"""Flooding: scikit-image's labels, object by object."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from volproc.core.errors import ConfigError, DtypeError, NonFiniteError, ShapeError
from volproc.reduce import watershed as module
from volproc.reduce.watershed import flood, flood_objects, neighbour_steps, rank_heights

SHAPE = (5, 7, 11)


def scene(seed: int, shape: tuple[int, ...] = SHAPE, levels: int = 5) -> tuple[np.ndarray, ...]:
    """Heights with plateaus, markers of all sorts, and a mask with many and few objects."""
    rng = np.random.default_rng(seed)
    heights = rng.integers(0, levels, shape)
    markers = np.where(rng.random(shape) < 0.1, rng.integers(1, 200, shape), 0)
    return heights, markers, rng.random(shape) < rng.choice([0.3, 0.6, 0.9])


@given(st.integers(0, 9999), st.sampled_from([1, 2, 3]), st.booleans())
def test_labels_are_those_of_scikit_image(seed, connectivity, is_masked) -> None:
    heights, markers, mask = scene(seed)
    mask = mask if is_masked else None
    expected = watershed(heights, markers, connectivity=connectivity, mask=mask)
    np.testing.assert_array_equal(
        flood(heights, markers, mask, connectivity=connectivity), expected
    )


@given(st.integers(0, 9999), st.sampled_from([1, 2]))
def test_a_micrograph_is_flooded_too(seed, connectivity) -> None:
    heights, markers, mask = scene(seed, (9, 13))
    expected = watershed(heights, markers, connectivity=connectivity, mask=mask)
    np.testing.assert_array_equal(
        flood(heights, markers, mask, connectivity=connectivity), expected
    )


@given(st.integers(0, 9999), st.sampled_from([1, 2, 3]))
def test_each_object_is_flooded_as_if_it_were_alone(seed, connectivity) -> None:
    heights, markers, mask = scene(seed)
    objects, count = ndi.label(mask, ndi.generate_binary_structure(3, connectivity))
    expected = sum(
        watershed(heights, markers, connectivity=connectivity, mask=objects == k)
        for k in range(1, count + 1)
    )
    found = flood_objects(
        heights, markers, objects.astype(np.uint32), count, connectivity=connectivity
    )
    np.testing.assert_array_equal(found, expected)


@given(st.integers(0, 9999), st.sampled_from([1, 2, 3]))
def test_objects_alone_are_objects_together_where_marker_heights_differ(seed, connectivity) -> None:
    heights, markers, mask = scene(seed)
    chosen = markers > 0
    heights = heights + 0.5
    heights[chosen] = np.random.default_rng(seed).permutation(chosen.sum()) - 0.25
    objects, count = ndi.label(mask, ndi.generate_binary_structure(3, connectivity))
    found = flood_objects(
        heights, markers, objects.astype(np.uint32), count, connectivity=connectivity
    )
    expected = watershed(heights, markers, connectivity=connectivity, mask=mask)
    np.testing.assert_array_equal(found, expected)


def test_scikit_image_lets_an_object_depend_on_others_where_marker_heights_are_equal() -> None:
    """Why objects are flooded alone: else no result could be the same for every cut."""
    heights = np.array([[0, 0, 0, 0, 0, 0, -1, 0]])
    markers = np.array([[1, 0, 2, 0, 0, 9, 9, 9]])
    objects = np.array([[1, 1, 1, 0, 0, 2, 2, 2]])
    alone = watershed(heights, markers, mask=objects == 1)
    assert alone.tolist() == [[1, 1, 2, 0, 0, 0, 0, 0]]
    assert watershed(heights, markers, mask=objects > 0).tolist() == [[1, 2, 2, 0, 0, 9, 9, 9]]
    found = flood_objects(heights, markers, objects.astype(np.uint32), 2)
    assert found.tolist() == [[1, 1, 2, 0, 0, 9, 9, 9]]


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i4", "u4", "i8", "u8", "f2", "f4", ">f4", "f8"])
def test_heights_of_all_types_are_compared_as_numbers(dtype) -> None:
    heights, markers, mask = scene(3, levels=9)
    heights = (heights - (0 if dtype[-2] == "u" else 4)).astype(dtype)
    if "f" in dtype:
        heights[heights == 0] = np.where(np.arange((heights == 0).sum()) % 2, 0.0, -0.0)
        heights[0, 0, :4] = [np.inf, -np.inf, 0.3, -0.3]
    np.testing.assert_array_equal(
        flood(heights, markers, mask), watershed(heights, markers, mask=mask)
    )


@pytest.mark.parametrize("dtype", ["u1", "i1", "i4", "u8", ">i8"])
def test_labels_have_the_type_of_the_markers_and_may_be_negative(dtype) -> None:
    heights, markers, mask = scene(4)
    markers = markers.astype(dtype)
    if np.dtype(dtype).kind == "i":
        markers[markers > 100] = -7
    labels = flood(heights, markers, mask)
    assert labels.dtype == markers.dtype
    np.testing.assert_array_equal(
        labels, watershed(heights, markers.astype(np.int64), mask=mask).astype(dtype)
    )


def test_a_queue_that_is_full_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    heights, markers, _ = scene(5, (9, 11, 13), levels=100)
    expected = watershed(heights, markers, connectivity=3)
    monkeypatch.setattr(module, "FIRST_ROOM", 27)  # less than the markers
    np.testing.assert_array_equal(flood(heights, markers, connectivity=3), expected)


def test_nothing_to_flood_gives_nothing() -> None:
    heights, markers, mask = scene(6)
    assert not flood(heights, np.zeros_like(markers), mask).any()
    assert not flood(heights, markers, np.zeros_like(mask)).any()
    assert not flood(heights, np.where(mask, 0, markers), mask).any()


def test_inputs_are_left_as_they_are() -> None:
    inputs = scene(7)
    before = [a.copy() for a in inputs]
    flood(*inputs)
    for one, other in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_ranks_of_small_types_do_not_depend_on_the_array() -> None:
    values = np.array([-np.inf, -3.5, -0.0, 0.0, 1e-30, 2.0, np.inf], np.float32)
    levels = rank_heights(values, np.ones(7, bool))
    assert (np.diff(levels.astype(np.int64)) > 0).sum() == 5
    assert levels[2] == levels[3]
    np.testing.assert_array_equal(rank_heights(values[2:4], np.ones(2, bool)), levels[2:4])


def test_corners_come_after_edges_and_edges_after_faces() -> None:
    steps = neighbour_steps((3, 10, 100), 3)
    assert len(steps) == 26
    assert steps[:6].tolist() == [-1000, -100, -1, 1, 100, 1000]
    assert set(steps[18:]) == {
        a * 1000 + b * 100 + c for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)
    }


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"connectivity": 4}, ConfigError, "connectivity is 1"),
        ({"markers": np.zeros(SHAPE, bool)}, DtypeError, "got bool.*volproc.label"),
        ({"markers": np.zeros(SHAPE)}, DtypeError, "got float64"),
        ({"heights": np.zeros(SHAPE, complex)}, DtypeError, "got complex128"),
        ({"heights": np.zeros(SHAPE, bool)}, DtypeError, "got bool"),
        ({"markers": np.zeros((5, 7, 10), int)}, ShapeError, "heights and markers differ"),
        ({"mask": np.zeros((5, 7, 10), int)}, ShapeError, "heights and mask differ"),
        ({"heights": np.zeros(4), "markers": np.zeros(4, int)}, ShapeError, r"got shape \(4,\)"),
    ],
)
def test_what_cannot_be_flooded_is_refused(change, error, text) -> None:
    arguments = {"heights": np.zeros(SHAPE), "markers": np.zeros(SHAPE, int), "mask": None}
    with pytest.raises(error, match=text):
        flood(**(arguments | change))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_heights_that_are_nan_are_refused_inside_the_mask_only(dtype) -> None:
    heights, markers, mask = scene(8)
    heights = heights.astype(dtype)
    heights[~mask] = np.nan
    expected = watershed(np.nan_to_num(heights), markers, mask=mask)
    np.testing.assert_array_equal(flood(heights, markers, mask), expected)
    heights[tuple(np.argwhere(mask)[3])] = np.nan
    with pytest.raises(NonFiniteError, match=r"NaN at 1 voxels of the mask.*Replace"):
        flood(heights, markers, mask)
