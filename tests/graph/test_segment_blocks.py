"""Segmenting block by block: what the function gets and gives, and what stands in between."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import ConfigError, DtypeError, HaloError, NonFiniteError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.stitch import segment_blocks, stitch
from volproc.reduce.stitching_grid import OverlapGrid

SHAPE = (5, 7, 11)


def zeros(*shape: int, chunks: Any = -1, dtype: Any = int) -> da.Array:
    return da.zeros(shape, chunks=chunks, dtype=dtype)


def test_a_function_may_give_scores_by_label() -> None:
    image = np.zeros((1, 20))
    image[0, 4:12] = image[0, 9:19] = 1

    def segment(block: np.ndarray) -> Any:
        labels = np.zeros(block.shape, int)
        if block[0, 0] == 0:  # the first block
            labels[0, 4:12] = 5
            return labels, {5: 0.9}
        labels[0, 5:15] = 3
        return labels, np.full(block.shape, 0.5)

    labels, _ = dask.compute(
        *segment_blocks(da.from_array(image), segment, chunks=(1, 10), halo=(0, 6), min_overlap=0.7)
    )
    boxes = [box[1] for box in ndi.find_objects(labels.astype(int))]
    assert boxes == [slice(4, 12), slice(12, 19)]


def test_a_function_is_called_once_a_block_even_for_two_computations() -> None:
    calls: list[tuple[int, ...]] = []

    def segment(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return ndi.label(block)[0]

    mask = np.random.default_rng(2).random((9, 13, 11)) < 0.4
    lazy, report = segment_blocks(da.from_array(mask, chunks=5), segment, chunks=(4, 13, 6), halo=2)
    labels = lazy.compute(scheduler="sync")
    assert report.compute(scheduler="sync").num_objects == labels.max()
    expected = OverlapGrid(((4, 4, 1), (13,), (6, 5)), (2, 2, 2)).block_sizes
    assert Counter(calls) == Counter(
        (z, y, x) for z in expected[0] for y in expected[1] for x in expected[2]
    )


def test_a_volume_keeps_its_frame_and_is_read_from_storage(tmp_path) -> None:
    mask = np.random.default_rng(4).random((9, 13, 11)) < 0.4
    np.save(tmp_path / "mask.npy", mask.astype("u1"))
    volume = volproc.open(tmp_path / "mask.npy", voxel_size=(20.0, 10.0, 10.0))
    labels, report = volproc.segment_blocks(
        volume, lambda block: ndi.label(block)[0], chunks=(5, 6, 7), halo=3
    )
    assert isinstance(labels, Volume)
    assert (labels.voxel_size, labels.name) == (volume.voxel_size, "mask labels")
    assert not any("spool" in str(key) for key in labels.data.__dask_graph__())
    np.testing.assert_array_equal(labels.data.compute(scheduler="sync"), ndi.label(mask)[0])
    again, _ = stitch(Volume(da.from_array(mask.astype(int)), (5.0,) * 3, name="cells"), halo=0)
    assert (again.voxel_size, again.name) == ((5.0,) * 3, "cells labels")
    assert report.compute(scheduler="sync").num_objects == ndi.label(mask)[1]


def test_there_are_four_tasks_a_block_beside_the_trees() -> None:
    array = da.zeros((40, 40, 40), chunks=4, dtype=int)
    labels, _ = segment_blocks(array, np.copy, halo=1)
    keys = [str(k) for k in labels.__dask_graph__()]
    tables = sum(
        any(w in k for w in ("tree", "evidence", "objects", "palettes", "luts")) for k in keys
    )
    spooled = sum("spool'" in k or "-spool" in k for k in keys)
    assert labels.npartitions == 1000
    assert tables < 450
    assert len(keys) - tables - spooled <= 4 * 1000 + 1000 + 10  # the input has one a block


def test_scratch_goes_with_the_array(tmp_path) -> None:
    mask = np.random.default_rng(4).random(SHAPE) < 0.4
    labels, report = segment_blocks(
        da.from_array(mask), lambda b: ndi.label(b)[0], chunks=(3, 4, 5), halo=2, scratch=tmp_path
    )
    assert list(tmp_path.iterdir()) == []
    labels.compute(scheduler="sync")
    assert len(list(tmp_path.iterdir())) == 1
    del labels, report
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_computed_while_graphs_are_built() -> None:
    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    source = da.zeros((9, 13, 12), dtype="u1", chunks=5)
    array = da.map_blocks(never, source, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    segment_blocks(array, never, halo=2)
    stitch(array, halo=1, chunks=((4, 3), (4, 3, 2), (4, 3, 1)))


def test_the_label_type_holds_all_objects_or_says_so() -> None:
    truth = np.zeros((1, 600), int)
    truth[0, ::2] = np.arange(1, 301)
    options: dict[str, Any] = {"chunks": (1, 300), "halo": (0, 5)}
    labels, _ = segment_blocks(da.from_array(truth), np.copy, dtype=np.int64, **options)
    assert labels.compute(scheduler="sync").dtype == labels.dtype == np.int64
    labels, _ = segment_blocks(da.from_array(truth), np.copy, dtype=np.uint8, **options)
    with pytest.raises(DtypeError, match=r"300 objects do not fit into uint8.*uint64"):
        labels.compute(scheduler="sync")


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"halo": 0}, HaloError, "along y is 0"),
        ({"halo": 1, "chunks": ((2, 2), 4)}, ShapeError, r"make up a volume of \(4, 20\)"),
        ({"halo": 1, "chunks": ((5, 0), 4)}, ShapeError, "at least one voxel"),
        ({"halo": 1, "min_overlap": -0.1}, ConfigError, "at least 0"),
    ],
)
def test_volumes_that_cannot_be_cut_are_refused(options, error, text) -> None:
    with pytest.raises(error, match=text):
        segment_blocks(zeros(5, 20, chunks=3), np.copy, **options)


def test_channels_are_refused_by_name() -> None:
    volume = Volume(zeros(2, 4, 5, 6), (1.0,) * 3, channels=("dna", "actin"))
    with pytest.raises(ShapeError, match="one channel, got 2: dna, actin"):
        segment_blocks(volume, np.copy, halo=1)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda block: block[1:], ShapeError, r"shape \(3, 4\) got labels of shape \(2, 4\)"),
        (lambda block: block * 0.5, DtypeError, "got float64"),
        (lambda block: block - 1, DtypeError, "got -1"),
        (lambda block: (block, {2: 0.1}), ShapeError, "label 1 has no score"),
        (lambda block: (block, np.zeros((1, 7))), ShapeError, r"got \(3, 4\) and \(1, 7\)"),
        (lambda block: (block, block * np.nan), NonFiniteError, "NaN or infinity for 1 objects"),
        (lambda block: 1 // 0, ZeroDivisionError, "division"),
    ],
)
def test_what_a_function_gives_is_checked_and_the_block_named(function, error, text) -> None:
    image = np.zeros((3, 12), int)
    image[1, 9:11] = 1
    labels, _ = segment_blocks(da.from_array(image), function, chunks=(3, 5), halo=(0, 2))
    with pytest.raises(error, match=text) as caught:
        labels.compute(scheduler="sync")
    assert "in block (0, " in str(caught.value.__notes__)
