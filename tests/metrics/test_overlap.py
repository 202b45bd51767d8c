"""Scores of class maps against set arithmetic, whole and in blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from volproc.core.errors import ShapeError
from volproc.metrics.overlap import confusion, dice, iou, score_classes

SHAPE = (5, 7, 11)
maps = arrays(np.uint8, SHAPE, elements=st.integers(0, 3), fill=st.just(0))


@given(maps, maps)
def test_counts_agree_with_counting_voxels(truth: np.ndarray, predicted: np.ndarray) -> None:
    counts = confusion(truth, predicted, num_classes=4)
    for t in range(4):
        for p in range(4):
            assert counts[t, p] == np.count_nonzero((truth == t) & (predicted == p))


@given(maps, maps, st.integers(0, 5), st.integers(0, 11))
def test_counts_of_blocks_add_up(truth: np.ndarray, predicted: np.ndarray, z: int, x: int) -> None:
    parts = sum(
        confusion(truth[a, :, b], predicted[a, :, b], num_classes=4)
        for a in (slice(0, z), slice(z, None))
        for b in (slice(0, x), slice(x, None))
    )
    assert np.array_equal(parts, confusion(truth, predicted, num_classes=4))


@given(maps, maps)
def test_scores_of_a_class_are_those_of_its_mask(truth: np.ndarray, predicted: np.ndarray) -> None:
    names = ("background", "a", "b", "c")
    scores = score_classes(confusion(truth, predicted, num_classes=4), names)
    for index in range(4):
        here, there = truth == index, predicted == index
        assert scores["dice"][index] == pytest.approx(dice(here, there))
        assert scores["iou"][index] == pytest.approx(iou(here, there))
        assert iou(here, there) == pytest.approx(dice(here, there) / (2 - dice(here, there)))


def test_empty_masks_are_equal() -> None:
    empty, full = np.zeros(SHAPE, bool), np.ones(SHAPE, bool)
    assert dice(empty, empty) == iou(empty, empty) == 1.0
    assert dice(empty, full) == iou(empty, full) == dice(full, empty) == 0.0
    scores = score_classes(confusion(empty, empty, num_classes=3), ("background", "a", "b"))
    assert scores["dice"].tolist() == [1.0, 1.0, 1.0]


def test_the_number_of_classes_does_not_overflow_small_types() -> None:
    truth = np.full(SHAPE, 255, np.uint8)
    counts = confusion(truth, truth, num_classes=256)
    assert counts[255, 255] == truth.size


def test_maps_that_do_not_fit_are_named() -> None:
    truth, other = np.zeros(SHAPE, np.uint8), np.zeros((5, 7, 10), np.uint8)
    for score in (dice, iou, lambda a, b: confusion(a, b, num_classes=2)):
        with pytest.raises(ShapeError, match=r"\(5, 7, 11\), the prediction \(5, 7, 10\)"):
            score(truth, other)
    with pytest.raises(ShapeError, match="has values from 3 to 3, 2 classes are 0 to 1"):
        confusion(truth, truth + np.uint8(3), num_classes=2)
    with pytest.raises(ShapeError, match="integer classes, got float64"):
        confusion(truth.astype(float), truth, num_classes=2)
    with pytest.raises(ShapeError, match=r"2 class names for counts of shape \(3, 3\)"):
        score_classes(np.zeros((3, 3), np.int64), ("a", "b"))
