"""Numbers of a block, and tables that merge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from volproc.core.errors import DtypeError, ShapeError
from volproc.reduce.numbering import (
    as_unsigned,
    merge_label_tables,
    number_block,
    ranks_of_first,
)

SHAPE = (5, 7, 11)


def random_labels(seed: int, top: int, dtype: str, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, top, shape) * (rng.random(shape) < 0.8)).astype(dtype)


@given(
    st.integers(0, 99),
    st.sampled_from([2, 9, 200]),
    st.sampled_from(["u1", "i2", "<u4", ">u4", "i4", "i8", "u8"]),
)
def test_numbers_follow_first_voxels_and_rows_describe_them(seed, top, dtype) -> None:
    labels = random_labels(seed, top, dtype)
    mask = np.random.default_rng(seed).random(SHAPE) < 0.5
    block = number_block(labels, offset=(0, 0, 0), shape=SHAPE, mask=mask)
    table = block.table
    assert block.numbers.dtype == np.uint32
    flat = labels.reshape(-1)
    ordered = list(dict.fromkeys(flat[flat != 0].tolist()))
    assert table.label.tolist() == ordered
    np.testing.assert_array_equal(np.concatenate([[0], table.label])[block.numbers], labels)
    np.testing.assert_array_equal(table.first, [np.argmax(flat == i) for i in ordered])
    np.testing.assert_array_equal(table.count, [(labels == i).sum() for i in ordered])
    np.testing.assert_array_equal(table.inside, [(mask & (labels == i)).sum() for i in ordered])
    for i, edges in zip(ordered, table.edges, strict=True):
        at = np.argwhere(labels == i)
        touched = [
            bool((at[:, axis] == end).any()) for axis in range(3) for end in (0, SHAPE[axis] - 1)
        ]
        assert [bool(edges >> bit & 1) for bit in range(6)] == touched


def test_the_table_grows_beyond_its_first_room() -> None:
    labels = np.random.default_rng(1).permutation(np.arange(1, 11 * 13 * 17 + 1))
    labels = labels.reshape(11, 13, 17).astype(np.uint64) << np.uint64(40)
    block = number_block(labels, offset=(0, 0, 0), shape=labels.shape)
    np.testing.assert_array_equal(block.numbers.reshape(-1), np.arange(1, labels.size + 1))
    np.testing.assert_array_equal(block.table.label, labels.reshape(-1))


@given(st.integers(0, 99), st.integers(1, 4), st.integers(1, 6))
def test_tables_of_blocks_merge_to_the_table_of_the_whole(seed, z, x) -> None:
    labels = random_labels(seed, 9, "u2")
    parts = [
        number_block(labels[a:b, :, c:d], offset=(a, 0, c), shape=SHAPE).table
        for a, b in ((0, z), (z, 5))
        for c, d in ((0, x), (x, 11))
    ]
    whole = merge_label_tables([number_block(labels, offset=(0, 0, 0), shape=SHAPE).table])
    at_once = merge_label_tables(parts[::-1])
    by_tree = merge_label_tables([merge_label_tables(parts[:1]), merge_label_tables(parts[1:])])
    for merged in (at_once, by_tree):
        for column in ("label", "count", "first", "edges", "inside"):
            np.testing.assert_array_equal(getattr(merged, column), getattr(whole, column))


def test_ranks_follow_first_voxels() -> None:
    labels = np.array([[0, 9, 9, 2, 5, 2]])
    table = merge_label_tables([number_block(labels, offset=(0, 0), shape=(1, 6)).table])
    assert table.label.tolist() == [2, 5, 9]
    assert ranks_of_first(table).tolist() == [2, 3, 1]


def test_labels_of_nothing_merge_to_nothing() -> None:
    empty = number_block(np.zeros(SHAPE, int), offset=(0, 0, 0), shape=SHAPE).table
    assert len(merge_label_tables([empty, empty])) == 0


def test_the_greatest_labels_and_fortran_order_are_kept() -> None:
    labels = np.asfortranarray(np.array([[2**64 - 1, 0], [1, 2**63]], np.uint64))
    block = number_block(labels, offset=(0, 0), shape=(2, 2))
    assert block.table.label.tolist() == [2**64 - 1, 1, 2**63]
    assert as_unsigned(np.array([True, False])).dtype == np.uint32


@pytest.mark.parametrize(
    ("labels", "error", "text"),
    [
        (np.zeros((2, 3)), DtypeError, "got float64.*volproc.label"),
        (np.array([[0, -4]]), DtypeError, "positive with 0 as background, got -4"),
        (np.zeros((2, 9), int), ShapeError, "does not lie in 3 voxels along x"),
    ],
)
def test_voxels_that_are_no_labels_are_refused(labels, error, text) -> None:
    with pytest.raises(error, match=text):
        number_block(labels, offset=(0, 0), shape=(2, 3))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"got \(2, 3\) and \(2, 2\)"):
        number_block(
            np.zeros((2, 3), int), offset=(0, 0), shape=(2, 3), mask=np.zeros((2, 2), bool)
        )


def test_no_tables_are_refused() -> None:
    with pytest.raises(ShapeError, match="no tables"):
        merge_label_tables([])
