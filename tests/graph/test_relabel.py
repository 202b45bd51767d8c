"""Renaming of labels: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

import gc
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import volproc
from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.relabel import relabel

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def random_labels(seed: int, shape: tuple[int, ...] = SHAPE, dtype: str = "u4") -> np.ndarray:
    """Labels with gaps, in pieces all over the volume."""
    rng = np.random.default_rng(seed)
    names = rng.choice(np.arange(1, 120), 12, replace=False)
    return np.where(rng.random(shape) < 0.5, rng.choice(names, shape), 0).astype(dtype)


def numbered_by_first(labels: np.ndarray) -> np.ndarray:
    values = list(dict.fromkeys(labels.reshape(-1).tolist()))
    new = {v: i for i, v in enumerate([v for v in values if v], 1)} | {0: 0}
    return np.vectorize(new.get, otypes=[np.uint32])(labels)


def run(item: Any) -> Any:
    return dask.compute(item, scheduler="sync")[0]


@given(st.integers(0, 99), cuts(), st.sampled_from(["u1", "i4", "i8", "u8", ">i2"]))
def test_labels_are_numbered_by_first_voxels_for_every_cut(seed, chunks, dtype) -> None:
    labels = random_labels(seed, dtype=dtype)
    lazy, number = relabel(da.from_array(labels, chunks=chunks))
    assert lazy.chunks == chunks
    new, num_objects = dask.compute(lazy, number, scheduler="sync")
    expected = numbered_by_first(labels)
    np.testing.assert_array_equal(new, expected)
    assert new.dtype == lazy.dtype == np.uint32
    assert num_objects == expected.max()


@given(st.integers(0, 99), cuts((9, 13)))
def test_a_micrograph_too_and_a_second_time_changes_nothing(seed, chunks) -> None:
    labels = random_labels(seed, (9, 13))
    once, _ = relabel(da.from_array(labels, chunks=chunks))
    twice, _ = relabel(once)
    np.testing.assert_array_equal(run(once), numbered_by_first(labels))
    np.testing.assert_array_equal(run(twice), run(once))


@given(st.integers(0, 99), cuts(), st.sampled_from(["keep", "remove"]))
def test_a_mapping_renames_for_every_cut(seed, chunks, unknown) -> None:
    labels = random_labels(seed)
    present = np.unique(labels)[1:]
    mapping = {int(v): int(v) % 3 for v in present[::2]} | {5000: 1}
    expected = np.zeros_like(labels) if unknown == "remove" else labels.copy()
    for old, new in mapping.items():
        expected[labels == old] = new
    lazy, number = relabel(da.from_array(labels, chunks=chunks), mapping, unknown=unknown)
    new, num_objects = dask.compute(lazy, number, scheduler="sync")
    np.testing.assert_array_equal(new, expected)
    assert num_objects == len(np.unique(expected[expected > 0]))


def test_a_mapping_may_be_a_series_or_an_array_of_pairs() -> None:
    labels = da.from_array(np.array([[3, 0, 8]]))
    for mapping in (
        {3: 30, 8: 80},
        pd.Series([30, 80], index=[3, 8]),
        np.array([[8, 80], [3, 30], [3, 30]]),
    ):
        assert run(relabel(labels, mapping)[0]).tolist() == [[30, 0, 80]]
    assert run(relabel(labels, {}, unknown="keep")[0]).tolist() == [[3, 0, 8]]


def test_labels_beyond_32_bits_widen_the_type() -> None:
    labels = da.from_array(np.array([[2**40, 0, 7]], np.uint64), chunks=1)
    assert relabel(labels)[0].dtype == np.uint32
    wide, _ = relabel(labels, {7: 8}, unknown="keep")
    assert run(wide).tolist() == [[2**40, 0, 8]]
    assert wide.dtype == np.uint64
    named, _ = relabel(labels, {7: 1, 2**40: 2**64 - 1})
    assert run(named).tolist() == [[2**64 - 1, 0, 1]]
    small, _ = relabel(labels, dtype=np.uint8)
    assert run(small).dtype == np.uint8


def test_unknown_labels_are_named() -> None:
    lazy, _ = relabel(da.from_array(np.array([[3, 9, 8]]), chunks=1), {3: 1})
    with pytest.raises(ConfigError, match=r"2 labels.*\[8, 9\].*unknown='keep'"):
        run(lazy)


def test_labels_that_do_not_fit_in_the_type_are_refused() -> None:
    lazy, _ = relabel(da.from_array(np.array([[3]])), {3: 300}, dtype=np.uint8)
    with pytest.raises(DtypeError, match="up to 300 do not fit into uint8"):
        run(lazy)


def test_a_negative_label_is_refused_with_its_block() -> None:
    lazy, _ = relabel(da.from_array(np.array([[3, 0, -2]]), chunks=2))
    with pytest.raises(DtypeError, match="got -2") as caught:
        run(lazy)
    assert "in block (0, 1)" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("labels", "options", "error", "text"),
    [
        (np.zeros(SHAPE), {}, DtypeError, "got float64"),
        (np.zeros((0, 4), int), {}, ShapeError, "empty volume"),
        (np.zeros((2, 2, 2, 2), int), {}, ShapeError, "one channel"),
        (np.zeros(SHAPE, int), {"mapping": {0: 4}}, ConfigError, "background"),
        (np.zeros(SHAPE, int), {"mapping": np.zeros((2, 3), int)}, ConfigError, r"\(n, 2\)"),
        (np.zeros(SHAPE, int), {"mapping": [[3, 4], [3, 5]]}, ConfigError, "label 3 has two"),
        (np.zeros(SHAPE, int), {"mapping": {-3: 4}}, DtypeError, "old labels.*-3"),
        (np.zeros(SHAPE, int), {"mapping": {3: 0.5}}, DtypeError, r"new labels.*got \[0.5\]"),
        (np.zeros(SHAPE, int), {"unknown": "drop"}, ConfigError, "'drop'"),
        (np.zeros(SHAPE, int), {"dtype": np.float32}, DtypeError, "dtype=float32"),
    ],
)
def test_impossible_requests_are_refused_before_anything_runs(labels, options, error, text) -> None:
    with pytest.raises(error, match=text):
        relabel(da.from_array(labels), **options)


def test_a_volume_keeps_its_frame() -> None:
    volume = Volume(da.from_array(random_labels(0), chunks=3), (20.0, 10.0, 10.0), name="cells")
    new, _ = volproc.relabel(volume)
    assert isinstance(new, Volume)
    assert (new.voxel_size, new.name, new.shape) == (volume.voxel_size, "cells", SHAPE)


def test_chunks_without_voxels_are_left_out() -> None:
    labels = random_labels(4)
    array = da.concatenate([da.from_array(labels), da.zeros((5, 7, 0), dtype="u4")], axis=2)
    np.testing.assert_array_equal(run(relabel(array)[0]), numbered_by_first(labels))


def test_each_chunk_is_computed_once_and_nothing_before_it_is_asked_for() -> None:
    calls = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(random_labels(1), chunks=(2, 4, 11))
    lazy, number = relabel(source.map_blocks(load, dtype="u4", meta=np.empty((0, 0, 0), "u4")))
    assert calls == []
    dask.compute(lazy, number, scheduler="threads")
    assert len(calls) == source.npartitions


def test_scratch_goes_with_the_array(tmp_path) -> None:
    lazy, number = relabel(da.from_array(random_labels(1), chunks=3), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    run(lazy)
    assert len(list(tmp_path.iterdir())) == 1
    del lazy, number
    gc.collect()
    assert list(tmp_path.iterdir()) == []
