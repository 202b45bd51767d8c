"""Components as runs, and back to labels."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import DtypeError, ShapeError
from volproc.reduce.runs import label_runs, relabel_runs

SHAPE = (5, 7, 11)

shapes = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 20))


def draw(seed: int, shape: tuple[int, ...], part: float, top: int = 1) -> np.ndarray:
    """Classes 1..top on a part of the voxels."""
    generator = np.random.default_rng(seed)
    drawn = generator.integers(1, top + 1, shape) * (generator.random(shape) < part)
    return drawn.astype(np.uint8)


@given(
    st.integers(0, 999),
    shapes,
    st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]),
    st.integers(1, 3),
)
def test_a_mask_is_labelled_as_by_scipy(seed, shape, part, connectivity) -> None:
    mask = draw(seed, shape, part) > 0
    structure = ndi.generate_binary_structure(3, connectivity)
    whole, count = ndi.label(mask, structure)
    found = label_runs(mask, connectivity)
    np.testing.assert_array_equal(found.paint(), whole)
    assert list(found.first) == [np.flatnonzero(whole == n)[0] for n in range(1, count + 1)]


@given(
    st.integers(0, 999),
    shapes,
    st.sampled_from(["u1", "i2", "u4", "i8"]),
    st.integers(1, 3),
)
def test_classes_are_labelled_as_by_cc3d(seed, shape, dtype, connectivity) -> None:
    classes = draw(seed, shape, 0.7, top=3).astype(dtype)
    if dtype[0] == "i":
        classes[classes == 3] = -3
    _, numbers = np.unique(classes, return_inverse=True)  # cc3d takes no negative classes
    numbers = numbers.reshape(shape) + 1
    numbers[classes == 0] = 0
    neighbours = {1: 6, 2: 18, 3: 26}[connectivity]
    whole = cc3d.connected_components(numbers.astype(np.uint16), connectivity=neighbours)
    np.testing.assert_array_equal(label_runs(classes, connectivity).paint(), whole)


@given(st.integers(0, 999), shapes, st.sampled_from([0.1, 0.6, 1.0]))
def test_planes_are_those_of_the_labels(seed, shape, part) -> None:
    found = label_runs(draw(seed, shape, part, top=2), 1)
    labels = found.paint()
    for axis in range(3):
        for side in range(2):
            np.testing.assert_array_equal(found.plane(axis, side), labels.take(-side, axis))


def test_neighbouring_runs_that_touch_at_a_corner_of_several_classes_are_all_seen() -> None:
    upper, lower = [1, 1, 2, 2, 1, 0, 2], [2, 2, 1, 1, 2, 2, 1]
    classes = np.array([[upper, lower]], np.uint8)
    whole = cc3d.connected_components(classes[0], connectivity=8)
    np.testing.assert_array_equal(label_runs(classes, 2).paint()[0], whole)
    assert label_runs(classes, 1).first.size > label_runs(classes, 2).first.size


@given(st.integers(0, 999), st.sampled_from([0.1, 0.6, 1.0]))
def test_runs_are_painted_with_the_labels_of_a_table(seed, part) -> None:
    found = label_runs(draw(seed, SHAPE, part), 1)
    lut = np.random.default_rng(seed).permutation(len(found.first) + 1).astype(np.uint64) * 7
    lut[0] = 0
    painted = relabel_runs(found.runs, lut, SHAPE, dtype="u8")
    np.testing.assert_array_equal(painted, lut[found.paint()])


def test_labels_beyond_32_bits_are_painted() -> None:
    found = label_runs(draw(1, SHAPE, 0.3), 1)
    lut = np.arange(len(found.first) + 1, dtype=np.uint64) + np.uint64(2**32 + 5)
    lut[0] = 0
    painted = relabel_runs(found.runs, lut, SHAPE, dtype=np.uint64)
    assert painted.dtype == np.uint64
    np.testing.assert_array_equal(painted, lut[found.paint()])
    with pytest.raises(DtypeError, match=r"do not fit in uint32\. Use uint64"):
        relabel_runs(found.runs, lut, SHAPE, dtype=np.uint32)


def test_the_table_of_another_block_is_refused() -> None:
    found = label_runs(draw(1, SHAPE, 0.3), 1)
    count = len(found.first)
    with pytest.raises(ShapeError, match=f"exceeds its table of {count}, got {count}"):
        relabel_runs(found.runs, np.arange(count), SHAPE, dtype=np.uint32)


def test_a_volume_is_read_in_raster_order_and_left_alone() -> None:
    classes = draw(2, SHAPE, 0.7, top=4)
    before = classes.copy()
    expected = label_runs(classes, 1)
    turned = np.asfortranarray(classes)
    turned.flags.writeable = False
    found = label_runs(turned, 1)
    np.testing.assert_array_equal(found.runs, expected.runs)
    np.testing.assert_array_equal(found.first, expected.first)
    np.testing.assert_array_equal(classes, before)
