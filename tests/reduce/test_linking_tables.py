"""Sections and their overlaps: counted right, and added up to the same for every cut."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import DtypeError, PlanError, ShapeError
from volproc.reduce.linking_tables import (
    SliceTable,
    join_slices,
    measure_slices,
    merge_slices,
)

SHAPE = (7, 5, 11)


def stack(seed: int, shape: tuple[int, ...] = SHAPE, top: int = 4) -> np.ndarray:
    """Random runs of labels, a third of them background."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, top, shape, endpoint=True) * (generator.random(shape) < 0.8)
    labels[:, :, 1::2] = labels[:, :, :-1:2]
    return labels


def counted(labels: np.ndarray, distance: int) -> tuple[dict, dict]:
    """Area and first voxel of each section, and overlaps, voxel by voxel."""
    sections: dict = {}
    overlaps: Counter = Counter()
    for index, (z, y, x) in enumerate(np.ndindex(labels.shape)):
        own = (z, int(labels[z, y, x]))
        if not own[1]:
            continue
        area, first = sections.get(own, (0, index))
        sections[own] = (area + 1, first)
        for other in range(z + 1, min(len(labels), z + distance + 1)):
            if labels[other, y, x]:
                overlaps[own, (other, int(labels[other, y, x]))] += 1
    return sections, dict(overlaps)


def said(table: SliceTable) -> tuple[dict, dict]:
    names = list(zip(table.z.tolist(), table.label.tolist(), strict=True))
    rows = zip(table.area.tolist(), table.first.tolist(), strict=True)
    pairs = zip(table.lower, table.upper, table.count.tolist(), strict=True)
    return dict(zip(names, rows, strict=True)), {(names[a], names[b]): n for a, b, n in pairs}


@given(
    st.integers(0, 999), st.integers(1, 9), st.sampled_from(["u1", "i2", "u4", "i4", "i8", "u8"])
)
def test_sections_and_overlaps_are_those_counted_voxel_by_voxel(seed, distance, dtype) -> None:
    labels = stack(seed).astype(dtype)
    runs, table = measure_slices(labels, offset=(0, 0, 0), shape=SHAPE, max_distance_z=distance)
    assert said(table) == counted(labels, distance)
    assert (np.diff(table.first) > 0).all()
    np.testing.assert_array_equal(runs.paint(np.append(0, table.label)), labels)
    slices = np.arange(SHAPE[0])[:, None, None]
    np.testing.assert_array_equal(runs.paint(np.append(0, table.z)), slices * (labels > 0))


def cut_edges(draw: st.DrawFn, size: int) -> list[int]:
    return [0, *sorted(draw(st.sets(st.integers(1, size - 1), max_size=4))), size]


@given(st.data(), st.integers(0, 999), st.integers(1, 4))
def test_tables_of_blocks_add_up_to_that_of_the_whole(data, seed, distance) -> None:
    labels = stack(seed)
    edges = [cut_edges(data.draw, n) for n in SHAPE]
    tables = []
    for y in pairwise(edges[1]):
        for x in pairwise(edges[2]):
            column = []
            for z in pairwise(edges[0]):
                region = tuple(slice(*e) for e in (z, y, x))
                offset = tuple(s.start for s in region)
                column.append(
                    measure_slices(
                        labels[region], offset=offset, shape=SHAPE, max_distance_z=distance
                    )
                )
            tables += [table for _, table in column]
            for i in range(len(column) - 1):
                depth = column[i][0].shape[0]
                low = (column[i][0].between(depth - distance, depth), column[i][1])
                high = [(runs.between(0, distance), table) for runs, table in column[i + 1 :]]
                tables.append(join_slices(low, high, distance))
    data.draw(st.randoms(use_true_random=False)).shuffle(tables)
    whole = merge_slices(
        [measure_slices(labels, offset=(0, 0, 0), shape=SHAPE, max_distance_z=distance)[1]]
    )
    middle = len(tables) // 2
    halves = [merge_slices(part) for part in (tables[:middle], tables[middle:]) if part]
    for merged in (merge_slices(tables), merge_slices(halves)):
        for name in SliceTable.__slots__:
            np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))


@given(st.integers(0, 99), st.integers(0, 8))
def test_below_leaves_the_lower_slices_and_their_pairs(seed, stop) -> None:
    labels = stack(seed)
    options = {"offset": (0, 0, 0), "shape": SHAPE, "max_distance_z": 3}
    table = merge_slices([measure_slices(labels, **options)[1]])
    assert said(table.below(stop)) == counted(labels[:stop], 3)


def test_labels_may_be_as_large_as_they_are() -> None:
    labels = np.array([[[2**63 - 1, 98_000_000, 0, 98_000_000]]])
    _, table = measure_slices(labels, offset=(0, 0, 0), shape=(1, 1, 4), max_distance_z=1)
    assert table.label.tolist() == [2**63 - 1, 98_000_000]
    assert table.area.tolist() == [1, 2]


def test_labels_of_the_other_byte_order_are_the_same() -> None:
    labels = stack(3).astype(">u2")
    _, table = measure_slices(labels, offset=(0, 0, 0), shape=SHAPE, max_distance_z=2)
    assert said(table) == counted(labels, 2)


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        (np.zeros((1, 2, 3), "f4"), DtypeError, "integer labels, got float32"),
        (np.full((1, 2, 3), -4), DtypeError, "0 as background, got -4"),
        (np.full((1, 2, 3), -4, "i1"), DtypeError, "0 as background, got -4"),
        (np.full((1, 2, 3), -4, ">i4"), DtypeError, "0 as background, got -4"),
        (np.full((1, 2, 3), 2**63, "u8"), DtypeError, "got 9223372036854775808"),
        (np.zeros((1, 2, 4), int), ShapeError, "4 voxels from 0 does not lie in 3"),
    ],
)
def test_labels_that_cannot_be_are_refused(labels, error, text) -> None:
    with pytest.raises(error, match=text):
        measure_slices(labels, offset=(0, 0, 0), shape=(1, 2, 3), max_distance_z=1)


def test_no_tables_do_not_merge() -> None:
    with pytest.raises(ShapeError, match="empty sequence"):
        merge_slices([])


@given(st.integers(0, 99), st.integers(-1, 7), st.integers(0, 9))
def test_some_slices_of_runs_are_those_of_the_volume(seed, start, stop) -> None:
    labels = stack(seed)
    runs, table = measure_slices(labels, offset=(0, 0, 0), shape=SHAPE, max_distance_z=1)
    part = runs.between(start, max(start, stop))
    expected = labels[max(0, start) : max(start, stop)]
    assert part.shape == expected.shape
    np.testing.assert_array_equal(part.paint(np.append(0, table.label)), expected)


def test_a_block_beyond_the_index_is_refused() -> None:
    labels = np.broadcast_to(np.zeros(1, "u1"), (2**16, 2**8, 2**8))
    with pytest.raises(PlanError, match=r"4294967296 voxels is too large.*smaller chunks"):
        measure_slices(labels, offset=(0, 0, 0), shape=labels.shape, max_distance_z=1)
