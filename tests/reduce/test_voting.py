"""Votes that merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import ShapeError
from volproc.reduce.voting import count_votes, elect, merge_votes

SHAPE = (5, 7, 11)


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 10))
def test_votes_of_blocks_merge_to_those_of_the_whole(seed, z, x) -> None:
    rng = np.random.default_rng(seed)
    labels, classes = rng.integers(0, 6, SHAPE), rng.integers(-2, 3, SHAPE)
    _, whole = count_votes(labels, classes, offset=(0, 0, 0), shape=SHAPE)
    parts = [
        count_votes(labels[a:b, :, c:d], classes[a:b, :, c:d], offset=(a, 0, c), shape=SHAPE)[1]
        for a, b in ((0, z), (z, 5))
        for c, d in ((0, x), (x, 11))
    ]
    whole = merge_votes([whole])
    for merged in (merge_votes(parts[::-1]), merge_votes([merge_votes(parts[:3]), parts[3]])):
        for name in ("label", "class_value", "count"):
            np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))
    assert whole.count.sum() == (labels > 0).sum()
    pairs = zip(whole.label.tolist(), whole.class_value.tolist(), strict=True)
    counts = [((labels == i) & (classes == c)).sum() for i, c in pairs]
    assert whole.count.tolist() == counts


def test_many_objects_of_many_classes() -> None:
    labels = np.arange(1, 3001).reshape(1, 3000)
    classes = labels[:, ::-1] - 1500
    numbers, votes = count_votes(labels, classes, offset=(0, 0), shape=labels.shape)
    np.testing.assert_array_equal(votes.objects[numbers - 1], labels)
    np.testing.assert_array_equal(votes.class_value, classes[0])
    np.testing.assert_array_equal(
        elect(merge_votes([votes]), background_votes=True)["class_value"], classes[0]
    )


def test_shapes_that_differ_and_no_votes_are_refused() -> None:
    with pytest.raises(ShapeError, match="labels and classes differ"):
        count_votes(np.ones((2, 3), int), np.ones((2, 2), int), offset=(0, 0), shape=(2, 3))
    with pytest.raises(ShapeError, match="no votes"):
        merge_votes([])
