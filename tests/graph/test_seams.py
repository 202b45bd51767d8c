"""Lazy seam QA: the same report for every chunking, each chunk computed once."""

from __future__ import annotations

from functools import cache
from typing import Any

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import ConfigError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.label import label
from volproc.graph.seams import find_cuts, seam_report

SHAPE = (43, 35, 37)

BLOCKS = (22, 35, 19)


@cache
def cells() -> np.ndarray:
    """A dense packing: every voxel belongs to the nearest of many seeds."""
    seeds = np.random.default_rng(1).integers(0, SHAPE, (200, 3))
    place = np.zeros(SHAPE, int)
    place[tuple(seeds.T)] = np.arange(1, 201)
    nearest = ndi.distance_transform_edt(place == 0, return_indices=True)[1]
    found: np.ndarray = place[tuple(nearest)]
    return found


def report_of(array: np.ndarray, stored: Any, **options: Any) -> dict[str, Any]:
    lazy = seam_report(da.from_array(array, chunks=stored), **options)
    return lazy.compute(scheduler="sync").to_json()


chunkings = st.tuples(*[st.integers(8, n) for n in SHAPE])


@settings(max_examples=8)
@given(chunkings, st.booleans())
def test_every_chunking_gives_the_same_report(chunks, is_cut) -> None:
    labels = cells()
    if is_cut:
        labels = np.where(np.arange(43)[:, None, None] < 22, labels, labels + 1000)
    expected = report_of(labels, -1, chunks=BLOCKS)
    assert report_of(labels, chunks, chunks=BLOCKS) == expected
    assert expected["verdict"] == ("fail" if is_cut else "pass")


@settings(max_examples=6)
@given(chunkings)
def test_every_chunking_gives_the_same_jumps(chunks) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    assert report_of(values, chunks, chunks=BLOCKS) == report_of(values, -1, chunks=BLOCKS)


def test_threads_give_what_one_thread_gives() -> None:
    lazy = seam_report(da.from_array(cells(), chunks=15), chunks=BLOCKS)
    expected = lazy.compute(scheduler="sync").to_json()
    assert lazy.compute(scheduler="threads").to_json() == expected


def test_labels_made_by_blocks_fail_and_those_of_label_pass() -> None:
    mask = np.random.default_rng(0).random((40, 42, 44)) < 0.25
    lazy = da.from_array(mask, chunks=(20, 21, 22))
    labels, _ = label(lazy)
    assert seam_report(labels).compute(scheduler="sync").verdict == "pass"

    def alone(block: np.ndarray) -> np.ndarray:
        own, _ = label(da.from_array(block))
        return own.compute(scheduler="sync")

    cut = lazy.map_blocks(alone, dtype=np.uint32)
    assert seam_report(cut).compute(scheduler="sync").verdict == "fail"


def test_each_chunk_is_computed_once_and_nothing_before_it_is_asked_for() -> None:
    calls: list[tuple[int, ...]] = []

    def count(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info:
            calls.append(block_info[0]["chunk-location"])
        return block

    lazy = da.from_array(cells(), chunks=19).map_blocks(count, dtype=int)
    calls.clear()
    report = seam_report(lazy)
    assert not calls
    report.compute(scheduler="sync")
    assert len(calls) == len(set(calls)) == lazy.npartitions


def test_tasks_grow_with_the_blocks_and_no_faster() -> None:
    array = da.zeros((40, 40, 40), chunks=4, dtype=np.uint8)
    own = [key for key in seam_report(array).__dask_graph__() if "seams-" in str(key)]
    assert len(own) < 1.2 * array.npartitions


def test_volumes_and_channels_are_taken() -> None:
    values = np.random.default_rng(0).random((2, *SHAPE)).astype(np.float32)
    channels = Volume(
        da.from_array(values, chunks=(1, 19, 19, 19)), (10.0,) * 3, channels=("a", "b")
    )
    report = volproc.seam_report(channels, chunks=BLOCKS).compute(scheduler="sync")
    assert (report.kind, report.verdict) == ("intensity", "pass")
    volume = Volume(da.from_array(cells(), chunks=19), (10.0,) * 3)
    assert volproc.seam_report(volume).compute(scheduler="sync").kind == "labels"
    integers = seam_report(da.from_array(cells(), chunks=19), kind="intensity")
    assert integers.compute(scheduler="sync").kind == "intensity"


def test_uneven_blocks_are_taken() -> None:
    labels = cells().copy()
    labels[:, 7:] += 1000
    cuts = ((43,), (7, 28), (37,))
    assert report_of(labels, 10, chunks=cuts)["verdict"] == "fail"
    assert report_of(labels, 10, chunks=cuts)["worst"][0]["position"] == 7


@pytest.mark.parametrize(
    ("chunks", "said"),
    [
        ((4, 4), "one size an axis"),
        ((4, 0, 4), "do not fill the 35 voxels along y"),
        (((20,), (35,), (37,)), "do not fill the 43 voxels along z"),
        (((43,), (-1, 36), (37,)), "along y"),
    ],
)
def test_blocks_that_do_not_fill_the_volume_are_refused(chunks, said) -> None:
    with pytest.raises(ConfigError, match=said):
        seam_report(da.zeros(SHAPE, chunks=9), chunks=chunks)
    assert find_cuts(BLOCKS, SHAPE, ()) == ((22, 21), (35,), (19, 18))


def test_what_has_no_seams_is_refused() -> None:
    for shape in ((4,), (2, 3, 4, 5), (0, 3, 4)):
        with pytest.raises(ShapeError):
            seam_report(da.zeros(shape))
    with pytest.raises(ConfigError, match="Choose labels or intensity"):
        seam_report(da.zeros(SHAPE), kind="label")
    channels = Volume(da.zeros((2, *SHAPE)), (10.0,) * 3, channels=("a", "b"))
    with pytest.raises(ShapeError, match="labels have no channels"):
        seam_report(channels, kind="labels")
