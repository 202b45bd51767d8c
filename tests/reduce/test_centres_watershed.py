"""Splitting touching particles: each step against scipy or scikit-image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.segmentation import watershed

from volproc.core.errors import ConfigError
from volproc.reduce.centres import away_from_border, merge_near
from volproc.reduce.centres_watershed import (
    ObjectVoxels,
    class_boxes,
    flood_regions,
    join_voxels,
    merge_boxes,
    narrow_classes,
    open_classes,
    split_object,
)
from volproc.reduce.centres_window import reach_of

SHAPE = (13, 15, 17)


def clumps(seed: int, shape: tuple[int, ...] = SHAPE, num_classes: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    smooth = ndi.gaussian_filter(rng.standard_normal((num_classes, *shape)), (0, 1.5, 1.5, 1.5))
    best = smooth.argmax(axis=0) + 1
    return np.where(smooth.max(axis=0) > 0.03, best, 0).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6))
def test_opening_is_that_of_scipy_class_by_class(seed) -> None:
    classes = clumps(seed)
    opened = open_classes(classes)
    for value in (1, 2):
        np.testing.assert_array_equal(opened == value, ndi.binary_opening(classes == value))


def objects_of(
    opened: np.ndarray,
    value: int,
    filter_size: int,
    voxel_size: tuple[float, ...] = (10.0, 10.0, 10.0),
) -> list[ObjectVoxels]:
    """All objects of a class, each from no more of the map than it needs."""
    labels, count = ndi.label(opened == value)
    reach = reach_of(filter_size, voxel_size)
    found = []
    for number, box in enumerate(ndi.find_objects(labels), start=1):
        places = np.flatnonzero(labels == number)
        view = tuple(
            slice(max(0, s.start - r), min(n, s.stop + r))
            for s, n, r in zip(box, opened.shape, reach, strict=True)
        )
        found.append(
            split_object(
                np.ascontiguousarray(opened[view]),
                offset=tuple(s.start for s in view),
                shape=opened.shape,
                first=int(places[0]),
                lower=tuple(s.start for s in box),
                upper=tuple(s.stop for s in box),
                count=len(places),
                filter_size=filter_size,
                voxel_size=voxel_size,
            )
        )
    assert count == len(found)
    return found


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 3, 4, 5, 10]))
def test_distances_and_markers_are_those_of_scipy(seed, filter_size) -> None:
    opened = open_classes(clumps(seed))
    distance = ndi.distance_transform_edt(opened == 1)
    peaks = (ndi.maximum_filter(distance, size=filter_size) == distance) & (opened == 1)
    markers, count = ndi.label(peaks)
    objects = objects_of(opened, 1, filter_size)
    assert sum(one.num_markers for one in objects) == count
    for one in objects:
        np.testing.assert_allclose(np.sqrt(one.heights), distance.ravel()[one.places])
        np.testing.assert_array_equal(one.markers > 0, peaks.ravel()[one.places])
        expected = markers.ravel()[one.places]
        ids = np.unique(expected[expected > 0])  # in the order of first voxels, as ours
        np.testing.assert_array_equal(ids[one.markers[one.markers > 0] - 1], expected[expected > 0])


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 4, 10]),
    st.sampled_from([(20.0, 10.0, 10.0), (10.0, 10.0, 30.0), (15.0, 40.0, 10.0)]),
)
def test_where_voxels_are_no_cubes_distances_and_windows_are_counted_in_angstrom(
    seed, filter_size, voxel_size
) -> None:
    opened = open_classes(clumps(seed))
    distance = ndi.distance_transform_edt(opened == 1, sampling=voxel_size)
    sides = [max(1, round(filter_size * 10.0 / size)) for size in voxel_size]
    peaks = (ndi.maximum_filter(distance, size=sides) == distance) & (opened == 1)
    for one in objects_of(opened, 1, filter_size, voxel_size):
        np.testing.assert_allclose(np.sqrt(one.heights / 1024) * 10, distance.ravel()[one.places])
        np.testing.assert_array_equal(one.markers > 0, peaks.ravel()[one.places])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([1, 3, 4, 10]))
def test_regions_are_those_of_scikit_image_on_the_whole_volume(seed, filter_size) -> None:
    opened = open_classes(clumps(seed, num_classes=1))
    distance = ndi.distance_transform_edt(opened)
    markers, count = ndi.label(
        (ndi.maximum_filter(distance, size=filter_size) == distance) & (opened > 0)
    )
    labels = watershed(-distance, markers, mask=opened > 0)
    objects = objects_of(opened, 1, filter_size)[::-1]
    regions = flood_regions(objects, SHAPE, in_raster_order=False)
    np.testing.assert_array_equal(regions.count, np.bincount(labels.ravel())[1:])
    np.testing.assert_allclose(
        regions.centres,
        np.reshape(ndi.center_of_mass(labels > 0, labels, range(1, count + 1)), (-1, 3)),
    )
    assert regions.first.tolist() == [
        int(np.flatnonzero(markers == i)[0]) for i in range(1, count + 1)
    ]


def test_in_raster_order_an_object_does_not_see_the_others() -> None:
    opened = open_classes(clumps(5))
    objects = [one for value in (1, 2) for one in objects_of(opened, value, 3)]
    together = flood_regions(objects, SHAPE, in_raster_order=True)
    for one in objects:
        alone = flood_regions([one], SHAPE, in_raster_order=True)
        rows = (together.classes == one.value) & np.isin(together.first, alone.first)
        np.testing.assert_array_equal(together.count[rows], alone.count)
        np.testing.assert_array_equal(together.centres[rows], alone.centres)
    assert together.count.sum() == (opened > 0).sum()


def test_equal_heights_are_flooded_from_the_first_marker_in_raster_order() -> None:
    places, heights = np.arange(5), np.array([4, 1, 1, 1, 4], np.int32)
    one = ObjectVoxels(1, places, heights, np.array([1, 0, 0, 0, 2], np.int32), 2)
    regions = flood_regions([one], (1, 1, 5), in_raster_order=True)
    assert regions.count.tolist() == [3, 2]
    assert one.markers.tolist() == [1, 0, 0, 0, 2]


def test_rows_do_not_touch_around_the_edge_of_the_volume() -> None:
    # the last voxel of a row and the first of the next one, and likewise for planes
    for places in ([2, 3], [3, 6]):
        one = ObjectVoxels(1, np.array(places), np.ones(2, np.int32), np.array([1, 0], np.int32), 1)
        assert flood_regions([one], (2, 2, 3), in_raster_order=True).count.tolist() == [1]


def test_without_objects_there_are_no_regions() -> None:
    regions = flood_regions([], SHAPE, in_raster_order=False)
    assert len(regions) == 0
    assert regions.centres.shape == (0, 3)


def test_joined_voxels_keep_their_markers_apart() -> None:
    one = ObjectVoxels(3, np.array([5]), np.array([1], np.int32), np.array([1], np.int32), 1)
    both = join_voxels([one, one])
    assert both.markers.tolist() == [1, 2]
    assert (both.value, both.num_markers) == (3, 2)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_boxes_of_blocks_merge_to_those_of_the_volume(seed, cut) -> None:
    classes = clumps(seed)
    parts = [class_boxes(classes[:cut], 3, (0, 0, 0)), class_boxes(classes[cut:], 3, (cut, 0, 0))]
    boxes = merge_boxes(parts)
    for number, box in enumerate(ndi.find_objects(classes, 2)):
        assert boxes[number].T.tolist() == [[s.start, s.stop] for s in box]
    assert (boxes[2, 0] > boxes[2, 1]).all()


def test_classes_are_numbered_in_the_order_given() -> None:
    classes = np.array([5, -1, 0, 9, 5], np.int16)
    assert narrow_classes(classes, [9, 5]).tolist() == [2, 0, 0, 1, 2]
    with pytest.raises(ConfigError, match="at most 255 classes"):
        narrow_classes(classes, range(1, 257))


def test_a_window_without_voxels_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 0 voxels"):
        reach_of(0)


def test_chains_of_near_centres_merge_to_their_mean() -> None:
    centres = np.array([[0.0, 0, 0], [9, 9, 9], [0, 0, 2], [0, 0, 4]])
    merged, counts = merge_near(centres, np.array([1, 2, 3, 4]), 2.0)
    assert merged.tolist() == [[0, 0, 2], [9, 9, 9]]
    assert counts.tolist() == [8, 2]
    same, _ = merge_near(centres, np.array([1, 2, 3, 4]), 2.0, (1.0, 1.0, 1.1))
    assert same.tolist() == centres.tolist()
    same, _ = merge_near(centres, np.array([1, 2, 3, 4]), 0.0)
    assert same.tolist() == centres.tolist()


def test_a_border_is_a_part_of_the_size_and_counts_both_ends() -> None:
    centres = np.array([[1.0, 5, 5], [0.9, 5, 5], [9, 5, 5], [9.1, 5, 5]])
    assert away_from_border(centres, (10, 10, 10), 0.1).tolist() == [True, False, True, False]
