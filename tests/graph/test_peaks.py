"""Lazy local maxima: the brute-force answer for every cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.feature import peak_local_max

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.points import Points
from volproc.core.volume import Volume
from volproc.graph.peaks import peaks
from volproc.io.open import open_

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=4))), n]).tolist())
        for n in shape
    )


def brute(scores: np.ndarray, radius: float, threshold: float) -> list[tuple[float, ...]]:
    """Each voxel against all others."""
    places = np.argwhere(scores == scores)
    values = scores[tuple(places.T)]
    found = []
    for place, value in zip(places, values, strict=True):
        near = ((places - place) ** 2).sum(axis=1) <= radius**2
        rivals = [tuple(p) for p in places[near & (values == value)].tolist()]
        if value >= threshold and values[near].max() <= value and min(rivals) == tuple(place):
            found.append((*map(float, place), float(value)))
    return sorted(found, key=lambda row: (-row[-1], *row[:-1]))


@settings(deadline=None, max_examples=15)
@given(st.data())
def test_every_cut_gives_the_brute_force_peaks(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([SHAPE, (9, 13)]))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    kind = data.draw(st.sampled_from(["u1", "f4", "f8", "?", "f2", ">i4"]))
    scores = rng.integers(0, data.draw(st.sampled_from([2, 5, 99])), shape).astype(kind)
    if scores.dtype.kind == "f":
        scores[rng.random(shape) < 0.1] = np.nan
    radius = data.draw(st.sampled_from([1, 1.5, 3, 6]))
    chunks = data.draw(cuts(shape))
    lazy = peaks(da.from_array(scores, chunks=chunks), min_distance=radius, threshold=1)
    table = lazy.compute(scheduler="sync")
    assert list(table.columns) == [*"zyx"[-len(shape) :], "score"]
    assert [tuple(row) for row in table.to_numpy().tolist()] == brute(scores, radius, 1)


@pytest.mark.parametrize("radius", [2, 3.5])
def test_the_halo_is_as_wide_as_the_distance(radius) -> None:
    scores = np.random.default_rng(1).permutation(12 * 13 * 14).reshape(12, 13, 14)
    lazy = peaks(da.from_array(scores, chunks=(6, 5, 7)), min_distance=radius)
    table = lazy.compute(scheduler="sync")
    assert [tuple(row) for row in table.to_numpy().tolist()] == brute(scores, radius, 0)


@settings(deadline=None, max_examples=8)
@given(cuts(SHAPE), st.integers(0, 99))
def test_refined_peaks_and_borders_do_not_see_the_cut(chunks, seed) -> None:
    scores = np.random.default_rng(seed).random(SHAPE)
    options: dict[str, Any] = {"min_distance": 2, "refine": True, "exclude_border": 1}
    whole = peaks(da.from_array(scores, chunks=-1), **options).compute(scheduler="sync")
    cut = peaks(da.from_array(scores, chunks=chunks), **options).compute(scheduler="sync")
    pd.testing.assert_frame_equal(cut, whole, check_exact=True)


def test_without_ties_they_are_those_of_scikit_image() -> None:
    rng = np.random.default_rng(5)
    scores = rng.permutation(15 * 17 * 19).reshape(15, 17, 19).astype(np.float32)
    ball = np.linalg.norm(np.indices((9, 9, 9)) - 4.0, axis=0) <= 4
    expected = peak_local_max(
        scores, footprint=ball, min_distance=1, exclude_border=False, threshold_abs=1000
    )
    found = peaks(da.from_array(scores, chunks=6), min_distance=4, threshold=1001)
    table = found.compute(scheduler="threads")
    np.testing.assert_array_equal(table[["z", "y", "x"]], expected)


def test_a_volume_gives_points_that_know_their_place() -> None:
    scores = np.zeros((6, 7, 8), np.float32)
    scores[2, 3, 4] = 0.5
    volume = Volume(da.from_array(scores, chunks=4), (20.0, 10.0, 10.0), name="map")
    points = peaks(volume, min_distance=2, threshold=0.1, class_name="ribosome").compute()
    assert isinstance(points, Points)
    assert points.zyx.tolist() == [[2, 3, 4]]
    assert (points.voxel_size, points.shape, points.name) == ((20, 10, 10), (6, 7, 8), "map")
    assert points.table.loc[0, ["class_name", "score"]].tolist() == ["ribosome", 0.5]


def test_a_micrograph_gives_a_table() -> None:
    volume = Volume(da.from_array(np.eye(5), chunks=2), (10.0, 10.0))
    table = peaks(volume, min_distance=9).compute()
    assert table.to_numpy().tolist() == [[0, 0, 1]]


def test_an_opened_volume_is_read_from_its_file_without_scratch(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((9, 10, 11)).astype(np.float32)
    np.save(tmp_path / "map.npy", scores)
    volume = open_(str(tmp_path / "map.npy"), voxel_size=10.0)
    lazy = peaks(volume, min_distance=2, scratch=tmp_path / "scratch")
    points = lazy.compute(scheduler="sync")
    expected = peaks(da.from_array(scores, chunks=3), min_distance=2).compute(scheduler="sync")
    np.testing.assert_array_equal(points.zyx, expected[["z", "y", "x"]])
    assert not (tmp_path / "scratch").exists()


def test_each_chunk_is_computed_once_and_the_scratch_goes(tmp_path: Path) -> None:
    seen: Counter[Any] = Counter()

    def count(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        seen[tuple(block_info[0]["chunk-location"])] += 1
        return block

    array = da.random.default_rng(0).random((9, 8, 7), chunks=(2, 4, 3))
    counted = array.map_blocks(count, dtype=float, meta=np.zeros((0, 0, 0)))
    lazy = peaks(counted, min_distance=5, scratch=tmp_path)
    lazy.compute(scheduler="threads")
    assert set(seen.values()) == {1}
    assert len(seen) == array.npartitions
    del lazy
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_computed_before_it_is_asked_for() -> None:
    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    array = da.map_blocks(never, da.zeros((9, 9), chunks=4), dtype=float, meta=np.zeros((0, 0)))
    peaks(array, min_distance=3)


def test_two_tasks_a_block_and_a_tree() -> None:
    array = da.zeros((64, 64, 64), chunks=8)
    lazy = peaks(array, min_distance=3)
    own = len(dict(lazy.dask)) - len(dict(array.dask))
    assert own <= 2.1 * array.npartitions


@pytest.mark.parametrize(
    ("array", "options", "error", "text"),
    [
        (da.zeros((3, 3)), {"min_distance": 0}, ConfigError, "at least 1 voxel, got 0"),
        (da.zeros((3, 3), dtype=complex), {"min_distance": 1}, DtypeError, "complex128"),
        (da.zeros(3), {"min_distance": 1}, ShapeError, r"got shape \(3,\)"),
        (da.zeros((2, 3, 3, 3)), {"min_distance": 1}, ShapeError, "Select one channel"),
        (da.zeros((0, 3)), {"min_distance": 1}, ShapeError, "at least one voxel"),
    ],
)
def test_bad_input_is_named_with_its_cure(array, options, error, text) -> None:
    with pytest.raises(error, match=text):
        peaks(array, **options)


def test_an_empty_table_keeps_its_columns() -> None:
    with dask.config.set(scheduler="sync"):
        table = peaks(da.zeros((4, 4), chunks=2), min_distance=1, threshold=1).compute()
    assert list(table.columns) == ["y", "x", "score"]
    assert len(table) == 0
