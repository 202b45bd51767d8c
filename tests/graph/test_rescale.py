"""Coarser and finer labels: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from itertools import product
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import volproc
from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.rescale import downscale, upscale

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def random_labels(seed: int, shape: tuple[int, ...] = SHAPE, top: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape).astype(np.uint32) * 7


def modes(labels: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """Oracle: cell by cell on the whole volume."""
    out = np.zeros([-(-n // f) for n, f in zip(labels.shape, factors, strict=True)], labels.dtype)
    for index in product(*map(range, out.shape)):
        cell = labels[tuple(slice(i * f, (i + 1) * f) for i, f in zip(index, factors, strict=True))]
        values, counts = np.unique(cell, return_counts=True)
        best = values[counts == counts.max()]
        out[index] = best[best > 0].min() if (best > 0).any() else 0
    return out


def run(item: Any) -> Any:
    return dask.compute(item, scheduler="sync")[0]


factors3 = st.tuples(st.integers(1, 3), st.integers(1, 8), st.integers(1, 4))


@given(st.integers(0, 99), cuts(), factors3)
def test_cells_take_their_most_frequent_label_for_every_cut(seed, chunks, factors) -> None:
    labels = random_labels(seed)
    lazy = downscale(da.from_array(labels, chunks=chunks), factors)
    result = run(lazy)
    np.testing.assert_array_equal(result, modes(labels, factors))
    assert lazy.shape == result.shape
    assert lazy.dtype == result.dtype == labels.dtype


@given(st.integers(0, 99), cuts((9, 13)), st.integers(1, 5))
def test_a_micrograph_and_its_first_voxels(seed, chunks, factor) -> None:
    labels = random_labels(seed, (9, 13))
    lazy = da.from_array(labels, chunks=chunks)
    np.testing.assert_array_equal(run(downscale(lazy, factor)), modes(labels, (factor,) * 2))
    nearest = downscale(lazy, factor, method="nearest")
    np.testing.assert_array_equal(run(nearest), labels[::factor, ::factor])


@given(st.integers(0, 99), cuts(), st.tuples(*[st.integers(1, 3)] * 3))
def test_finer_labels_repeat_voxels_and_go_back(seed, chunks, factors) -> None:
    labels = random_labels(seed)
    lazy = upscale(da.from_array(labels, chunks=chunks), factors)
    expected = labels
    for axis, factor in enumerate(factors):
        expected = expected.repeat(factor, axis)
    result = run(lazy)
    np.testing.assert_array_equal(result, expected)
    assert lazy.shape == result.shape
    assert max(map(max, lazy.chunks)) <= max(map(max, chunks))
    for method in ("majority", "nearest"):
        np.testing.assert_array_equal(run(downscale(lazy, factors, method=method)), labels)


def test_ties_go_to_an_object_and_then_to_the_smaller_label() -> None:
    labels = da.from_array(np.array([[0, 0, 5, 5, 0, 3], [9, 9, 4, 4, 0, 0]]), chunks=(1, 3))
    assert run(downscale(labels, 2)).tolist() == [[9, 4, 0]]


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", ">u2", "u8"])
def test_types_are_kept(dtype) -> None:
    labels = (random_labels(3, (9, 13), top=2) > 0).astype(dtype)
    for lazy in (downscale(da.from_array(labels, chunks=4), 2), upscale(da.from_array(labels), 2)):
        assert run(lazy).dtype == lazy.dtype == np.dtype(dtype)
    huge = np.full((2, 3), 2**64 - 1, np.uint64)
    assert run(downscale(da.from_array(huge), 2)).tolist() == [[2**64 - 1] * 2]


def test_the_frame_of_a_volume_follows() -> None:
    volume = Volume(
        da.zeros(SHAPE, dtype="u1", chunks=3), (30.0, 10.0, 10.0), (5.0, 0.0, 1.0), name="cells"
    )
    coarse = volproc.downscale(volume, (1, 2, 4))
    assert coarse.shape == (5, 4, 3)
    assert coarse.voxel_size == (30.0, 20.0, 40.0)
    assert coarse.origin == (5.0, 5.0, 16.0)
    assert coarse.name == "cells"
    assert volproc.downscale(volume, (1, 2, 4), method="nearest").origin == volume.origin
    fine = volproc.upscale(volume, (3, 1, 2))
    assert (fine.voxel_size, fine.origin) == ((10.0, 10.0, 5.0), (-5.0, 0.0, -1.5))
    back = volproc.downscale(fine, (3, 1, 2))
    assert (back.voxel_size, back.origin) == (volume.voxel_size, volume.origin)


@pytest.mark.parametrize("verb", [downscale, upscale])
@pytest.mark.parametrize(
    ("factor", "text"),
    [(0, "got 0"), (-2, "got -2"), (1.5, "got 1.5"), (True, "got True"), ((2, 2), "3 of them")],
)
def test_impossible_factors_are_refused(verb, factor, text) -> None:
    with pytest.raises(ConfigError, match=text):
        verb(da.zeros(SHAPE, dtype=int), factor)


def test_other_input_is_refused() -> None:
    with pytest.raises(DtypeError, match="got float64"):
        downscale(da.zeros(SHAPE), 2)
    with pytest.raises(ShapeError, match="empty volume"):
        upscale(da.zeros((0, 3), dtype=int), 2)
    with pytest.raises(ConfigError, match="'mean'"):
        downscale(da.zeros(SHAPE, dtype=int), 2, method="mean")
    negative = downscale(da.full((4, 4), -1, chunks=2), 2)
    with pytest.raises(DtypeError, match="got -1") as caught:
        run(negative)
    assert "in block (" in caught.value.__notes__[0]


@pytest.mark.parametrize("verb", [downscale, upscale])
def test_each_chunk_is_computed_once_and_nothing_before_it_is_asked_for(verb) -> None:
    calls = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(random_labels(1), chunks=(2, 3, 5))
    lazy = verb(source.map_blocks(load, dtype="u4", meta=np.empty((0, 0, 0), "u4")), 2)
    assert calls == []
    run(lazy)
    assert len(calls) == source.npartitions


def test_aligned_chunks_cost_one_task_a_block() -> None:
    source = da.from_array(np.zeros((8, 12, 16), "u1"), chunks=4)
    before = len(dict(source.__dask_graph__()))
    assert len(dict(downscale(source, 2).__dask_graph__())) == before + source.npartitions
