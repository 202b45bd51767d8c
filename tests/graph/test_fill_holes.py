"""Holes of objects: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.fill_holes import fill_holes

SHAPE = (5, 7, 11)

FFN = Path(__file__).parents[2].parent / "shared" / "data" / "labels" / "ffn_fib25_segmentation.npz"


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def filled_one_by_one(labels: np.ndarray) -> np.ndarray:
    """Oracle: scipy per object on the whole volume; of several holes around it, the smallest."""
    out = labels.copy()
    least = np.full(labels.shape, labels.size + 1)
    for label in np.unique(labels[labels > 0]):
        hole = ndi.binary_fill_holes(labels == label) & (labels != label)
        pieces, _ = ndi.label(hole)
        size = np.bincount(pieces.reshape(-1))[pieces]
        wins = hole & (labels == 0) & (size < least)
        out[wins], least[wins] = label, size[wins]
    return out


def run(item: Any) -> Any:
    return dask.compute(item, scheduler="sync")[0]


@given(st.integers(0, 999), cuts(), st.sampled_from([2, 3, 5]), st.sampled_from([0.1, 0.2, 0.4]))
def test_holes_are_those_of_scipy_per_object_for_every_cut(seed, chunks, top, part) -> None:
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(SHAPE) < part, 0, rng.integers(1, top, SHAPE)).astype(np.uint16)
    lazy = fill_holes(da.from_array(labels, chunks=chunks))
    result = run(lazy)
    np.testing.assert_array_equal(result, filled_one_by_one(labels))
    assert result.dtype == lazy.dtype == labels.dtype
    assert lazy.chunks == chunks


@given(st.integers(0, 999), cuts((13, 17)), st.sampled_from([0.4, 0.55, 0.7]))
def test_a_micrograph_has_many_rings_within_rings(seed, chunks, part) -> None:
    rng = np.random.default_rng(seed)
    found, number = ndi.label(rng.random((13, 17)) < part, np.ones((3, 3)))
    labels = np.concatenate([[0], rng.permutation(number) + 1])[found]
    lazy = fill_holes(da.from_array(labels, chunks=chunks))
    np.testing.assert_array_equal(run(lazy), filled_one_by_one(labels))
    np.testing.assert_array_equal(run(fill_holes(lazy)), run(lazy))


def shell(shape: tuple[int, ...], thickness: int = 1) -> np.ndarray:
    solid = np.zeros(shape, np.uint8)
    solid[(slice(1, -1),) * len(shape)] = 1
    inner = (slice(1 + thickness, -1 - thickness),) * len(shape)
    solid[inner] = 0
    return solid


@pytest.mark.parametrize("chunks", [(2, 3, 5), 4, (1, 9, 11), -1])
def test_a_hole_may_span_all_blocks(chunks) -> None:
    labels = shell((7, 9, 11))
    filled = run(fill_holes(da.from_array(labels, chunks=chunks)))
    assert filled[1:-1, 1:-1, 1:-1].all()
    assert filled.sum() == 5 * 7 * 9
    labels[3, 4, 1] = 0  # a door for the outside
    np.testing.assert_array_equal(run(fill_holes(da.from_array(labels, chunks=chunks))), labels)
    labels[3, 4, 1] = 1
    labels[1, 1, 1:] = 0  # an edge: two voxels that touch by an edge are no way
    labels[1, 2, 2] = 1
    assert run(fill_holes(da.from_array(labels, chunks=chunks)))[2:-1, 2:-1, 2:-1].all()


@pytest.mark.parametrize("chunks", [(2, 4, 5), 3, -1])
def test_an_object_in_a_hole_stays_and_the_gap_goes_to_the_outer_one(chunks) -> None:
    labels = shell((9, 9, 11))
    labels[3:6, 3:6, 3:6] = shell((5, 5, 5))[1:4, 1:4, 1:4] * 7
    labels[4, 4, 8] = 2
    result = run(fill_holes(da.from_array(labels, chunks=chunks)))
    assert result[4, 4, 4] == 7  # innermost
    assert result[4, 4, 8] == 2
    assert (result[2, 2:-2, 2:-2] == 1).all()
    assert (result == 7).sum() == 27
    assert (result == 2).sum() == 1


@pytest.mark.parametrize("chunks", [1, 2, -1])
def test_what_two_objects_enclose_together_belongs_to_neither(chunks) -> None:
    labels = np.zeros((5, 6), int)
    labels[1:4, 1:5] = [[1, 1, 2, 2], [1, 0, 0, 2], [1, 1, 2, 2]]
    lazy = da.from_array(labels, chunks=chunks)
    np.testing.assert_array_equal(run(fill_holes(lazy)), labels)
    one = lazy > 0
    assert run(fill_holes(one))[2, 2:4].all()


def test_a_third_object_around_the_two_fills_it() -> None:
    labels = np.zeros((9, 10), int)
    labels[1:8, 1:9] = 3
    labels[2:7, 2:8] = 0
    labels[3:6, 3:7] = [[1, 1, 2, 2], [1, 0, 0, 2], [1, 1, 2, 2]]
    result = run(fill_holes(da.from_array(labels, chunks=2)))
    np.testing.assert_array_equal(result, filled_one_by_one(labels))
    assert (result[4, 4:6] == 3).all()


@pytest.mark.parametrize("fill", [0, 1])
def test_an_empty_and_a_full_volume_stay(fill) -> None:
    labels = da.full(SHAPE, fill, dtype="u1", chunks=(2, 3, 11))
    assert (run(fill_holes(labels)) == fill).all()
    assert run(fill_holes(da.ones((1, 1, 1), dtype=bool))).dtype == bool


@pytest.mark.parametrize("chunks", [(2, 4, 5), 3, -1])
def test_a_piece_inside_and_a_piece_outside_are_no_way(chunks) -> None:
    labels = shell((7, 9, 11))
    labels[3, 4, 5] = labels[0, 0, 0] = 2  # one object in two pieces
    result = run(fill_holes(da.from_array(labels, chunks=chunks)))
    assert result[3, 4, 4] == 1
    np.testing.assert_array_equal(result, filled_one_by_one(labels))


@pytest.mark.parametrize("chunks", [(3, 2), 4, -1])
def test_a_ring_that_hangs_together_by_corners_is_closed(chunks) -> None:
    y, x = np.indices((11, 11)) - 5
    labels = (np.abs(y) + np.abs(x) == 4).astype(np.uint8) * 6
    result = run(fill_holes(da.from_array(labels, chunks=chunks)))
    np.testing.assert_array_equal(result > 0, np.abs(y) + np.abs(x) <= 4)


def test_real_neurites_are_filled_as_scipy_fills_them() -> None:
    if not FFN.exists():
        pytest.skip(f"{FFN} is not there")
    labels = np.load(FFN)["segmentation"][:90, 60:150, 100:200]
    expected = filled_one_by_one(labels)
    assert (expected != labels).any()
    for chunks in ((40, 50, 33), (90, 31, 100)):
        result = run(fill_holes(da.from_array(labels, chunks=chunks)))
        np.testing.assert_array_equal(result, expected)


def test_more_blocks_than_one_task_joins() -> None:
    labels = shell((9, 21, 19)) * np.uint8(9)
    result = run(fill_holes(da.from_array(labels, chunks=(2, 3, 5))))
    np.testing.assert_array_equal(result, filled_one_by_one(labels))


def test_a_volume_keeps_its_frame() -> None:
    volume = Volume(da.from_array(shell(SHAPE), chunks=3), (20.0, 10.0, 10.0), name="cells")
    result = volproc.fill_holes(volume)
    assert isinstance(result, Volume)
    assert (result.voxel_size, result.name) == (volume.voxel_size, "cells")


def test_other_input_is_refused() -> None:
    with pytest.raises(DtypeError, match="got float64"):
        fill_holes(da.zeros(SHAPE))
    with pytest.raises(ShapeError, match="empty volume"):
        fill_holes(da.zeros((0, 3), dtype=int))
    with pytest.raises(DtypeError, match=r"got -1"):
        run(fill_holes(da.full((2, 3), -1)))
    with pytest.raises(DtypeError, match=r"volproc.relabel first"):
        run(fill_holes(da.full((2, 3), 2**63, dtype=np.uint64)))


def test_each_chunk_is_computed_once_and_nothing_before_it_is_asked_for() -> None:
    calls = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(shell(SHAPE), chunks=(2, 3, 5))
    lazy = fill_holes(source.map_blocks(load, dtype="u1", meta=np.empty((0, 0, 0), "u1")))
    assert calls == []
    run(lazy)
    assert len(calls) == source.npartitions
