"""Classes by vote: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import volproc
from volproc.core.errors import DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.majority import majority

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def random_volume(seed: int, values: Any, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(seed).choice(values, shape)


def run(*items: Any) -> Any:
    return dask.compute(*items, scheduler="sync")


def voted(labels: np.ndarray, classes: np.ndarray, background: bool) -> dict[int, tuple[int, int]]:
    """Oracle: object by object on the whole volume."""
    out = {}
    for label in np.unique(labels[labels > 0]).tolist():
        values, counts = np.unique(classes[labels == label], return_counts=True)
        if not background:
            counts[values == 0] = 0
        out[label] = (int(values[counts.argmax()]), int(counts.max()))
        if counts.max() == 0:
            out[label] = (0, 0)
    return out


@given(
    st.integers(0, 99),
    cuts(),
    cuts(),
    st.sampled_from([("u1", (0, 1, 2)), ("i2", (-3, 0, 5)), ("u8", (0, 2**40, 7))]),
    st.booleans(),
)
def test_most_voxels_win_for_every_cut(seed, chunks, others, kind, background) -> None:
    labels = random_volume(seed, (0, 3, 90, 91, 2**33))
    dtype, values = kind
    classes = random_volume(seed + 1, values).astype(dtype)
    lazy, table = majority(
        da.from_array(labels, chunks=chunks),
        da.from_array(classes, chunks=others),
        background_votes=background,
    )
    class_map, frame = run(lazy, table)
    expected = voted(labels, classes, background)
    assert frame["label"].tolist() == list(expected)
    rows = zip(frame["class_value"].tolist(), frame["num_votes"].tolist(), strict=True)
    assert list(rows) == list(expected.values())
    assert frame["num_voxels"].sum() == (labels > 0).sum()
    painted = np.zeros_like(classes)
    for label, (value, _) in expected.items():
        painted[labels == label] = value
    np.testing.assert_array_equal(class_map, painted)
    assert class_map.dtype == lazy.dtype == classes.dtype


def test_ties_go_to_the_smaller_class_and_shares_are_parts_of_what_counts() -> None:
    labels = da.from_array(np.array([[4, 4, 4, 4, 2, 2]]), chunks=1)
    classes = da.from_array(np.array([[7, 0, 3, 0, 0, 0]]), chunks=4)
    _, table = run(*majority(labels, classes))
    assert table["class_value"].tolist() == [0, 0]
    assert table["share"].tolist() == [1.0, 0.5]
    _, table = run(*majority(labels, classes, background_votes=False))
    assert table["class_value"].tolist() == [0, 3]
    assert table["share"].tolist() == [0.0, 0.5]
    assert table["num_voxels"].tolist() == [2, 4]


def test_a_micrograph_and_a_volume_keep_their_frame() -> None:
    labels, classes = np.array([[1, 1, 0], [2, 2, 2]]), np.array([[0, 1, 1], [1, 0, 1]])
    volume = Volume(da.from_array(labels, chunks=2), (5.0, 4.0), name="cells")
    class_map, table = volproc.majority(volume, da.from_array(classes > 0, chunks=(2, 1)))
    assert isinstance(class_map, Volume)
    assert (class_map.voxel_size, class_map.name) == ((5.0, 4.0), "cells")
    values, frame = run(class_map.data, table)
    assert values.tolist() == [[False] * 3, [True] * 3]
    assert frame["class_value"].tolist() == [0, 1]


def test_no_objects_give_an_empty_table_of_the_same_types() -> None:
    empty, table = run(*majority(da.zeros(SHAPE, dtype=int, chunks=3), da.ones(SHAPE, dtype=int)))
    assert not empty.any()
    assert len(table) == 0
    _, full = run(*majority(da.ones(SHAPE, dtype=int, chunks=3), da.ones(SHAPE, dtype=int)))
    assert list(table.dtypes) == list(full.dtypes)


@pytest.mark.parametrize(
    ("labels", "classes", "error", "text"),
    [
        (np.zeros(SHAPE), np.zeros(SHAPE, int), DtypeError, "labels are integers, got float64"),
        (np.zeros(SHAPE, int), np.zeros(SHAPE), DtypeError, "classes are integers.*float64"),
        (np.zeros(SHAPE, int), np.zeros((5, 7, 1), int), ShapeError, "labels and classes differ"),
    ],
)
def test_other_input_is_refused(labels, classes, error, text) -> None:
    with pytest.raises(error, match=text):
        majority(da.from_array(labels), da.from_array(classes))


def test_class_values_beyond_63_bits_are_refused() -> None:
    classes = da.full((2, 3), 2**63, dtype=np.uint64)
    with pytest.raises(DtypeError, match="class values reach up to"):
        run(*majority(da.ones((2, 3), dtype=int), classes))


def test_each_chunk_of_both_is_computed_once() -> None:
    calls = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(random_volume(1, (0, 1, 2)), chunks=(2, 4, 11))
    lazy = source.map_blocks(load, dtype=int, meta=np.empty((0, 0, 0), int))
    results = majority(lazy, lazy % 2)
    assert calls == []
    run(*results)
    assert len(calls) == source.npartitions
