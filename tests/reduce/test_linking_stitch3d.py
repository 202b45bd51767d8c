"""The rule of Cellpose: its numbers, its ties and its empty slices."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volproc.reduce.linking_stitch3d import no_stitching, stitch_slices
from volproc.reduce.linking_tables import measure_slices, merge_slices

SHAPE = (6, 5, 11)


def stack(seed: int, part_empty: float = 0.2) -> np.ndarray:
    """Instances that keep a little of their place; labels with gaps; empty slices."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int64)
    for z in np.flatnonzero(generator.random(SHAPE[0]) >= part_empty):
        numbers = generator.permutation(6)[: generator.integers(1, 6)] + 1
        for label, x in zip(numbers, generator.integers(0, 5, len(numbers)) * 2, strict=True):
            y, height, width = generator.integers(0, 4), *generator.integers(1, 4, 2)
            labels[z, y : y + height, x : x + width] = label
    return labels


def stitched(labels: np.ndarray, min_iou: float, cuts: list[int]) -> tuple[np.ndarray, int]:
    """Whole slices, some at a time."""
    state, out = no_stitching(), np.zeros_like(labels)
    edges = [0, *cuts, len(labels)]
    for start, stop in pairwise(edges):
        part = labels[start : stop + 1]
        _, table = measure_slices(part, offset=(start, 0, 0), shape=labels.shape, max_distance_z=1)
        merged = merge_slices([table])
        state, ids = stitch_slices(state, merged, start=start, stop=stop, min_iou=min_iou)
        names = {(z, v): i for z, v, i in zip(merged.z, merged.label, ids, strict=False)}
        for z, label in names:
            out[z][labels[z] == label] = names[z, label]
    return out, state.num_objects


def cellpose(labels: np.ndarray, min_iou: float) -> np.ndarray:
    utils = pytest.importorskip("cellpose.utils")
    with np.errstate(invalid="ignore"):  # it divides 0 by 0 in slices without background
        return utils.stitch3D(labels.copy(), stitch_threshold=min_iou)


@settings(max_examples=100)
@given(
    st.integers(0, 99999),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    st.sampled_from([0.0, 0.3, 0.6]),
    st.sets(st.integers(1, 5)),
)
def test_numbers_are_those_of_cellpose_for_every_cut(seed, min_iou, part_empty, cuts) -> None:
    labels = stack(seed, part_empty)
    found, num_objects = stitched(labels, min_iou, sorted(cuts))
    np.testing.assert_array_equal(found, cellpose(labels, min_iou))
    assert num_objects == len(np.unique(found[found > 0]))


def test_the_stacks_of_these_tests_have_instances_and_ties() -> None:
    found = [stitched(stack(seed), 0.0, []) for seed in range(30)]
    assert sum(count > 5 for _, count in found) > 20
    assert sum(count < out.max() for out, count in found) > 0  # numbers left unused


def lines(*rows: str) -> np.ndarray:
    return np.array([[[0 if c == "." else int(c) for c in row]] for row in rows])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # after a leading empty slice two distant objects share a number
        ((("11..", "....", "...1")), ["11..", "....", "...1"]),
        # an exact tie gives two sections one number
        ((("1111", "1122")), ["1111", "1111"]),
        # and both count as one from there on
        ((("1111", "1122", "1111")), ["1111", "1111", "1111"]),
        # so that a small section overlaps both together too little
        ((("11111111", "11112222", ".......3")), ["11111111", "11111111", ".......4"]),
        # a gap of one slice ends an object
        ((("11.2", "11.2", "....", "11.2")), ["11.2", "11.2", "....", "33.4"]),
        # a label that a slice leaves out uses up a number
        ((("11..", "11.3")), ["11..", "11.3"]),
        # of equal partners the smaller number goes on
        ((("2211", "1111")), ["2211", "1111"]),
    ],
)
def test_oddities_are_those_of_cellpose(rows, expected) -> None:
    labels = lines(*rows)
    np.testing.assert_array_equal(stitched(labels, 0.25, [])[0], lines(*expected))
    np.testing.assert_array_equal(cellpose(labels, 0.25), lines(*expected))


def test_an_empty_stack_has_no_objects() -> None:
    found, num_objects = stitched(np.zeros(SHAPE, int), 0.25, [2])
    assert not found.any()
    assert num_objects == 0
