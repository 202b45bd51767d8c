"""What the operations on labels share: scratch, workers and chunks."""

from __future__ import annotations

from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest

import volproc
from volproc.core.errors import ShapeError
from volproc.graph.chunks import iterate_chunks
from volproc.graph.label_stage import Stage, beside, check_labels
from volproc.graph.lookup import LookupFiles


def labels_of(shape: tuple[int, ...] = (5, 9, 11)) -> np.ndarray:
    rng = np.random.default_rng(5)
    return np.where(rng.random(shape) < 0.7, rng.integers(1, 9, shape) ** 5, 0).astype(np.uint32)


def everything(labels: da.Array) -> list[Any]:
    """Results of all operations on labels."""
    return [
        *volproc.relabel(labels),
        volproc.filter_objects(labels, touching_edge=True, min_voxels=40, mask=labels > 9),
        volproc.fill_holes(labels),
        volproc.smooth(labels, fraction=0.1),
        *volproc.majority(labels, labels % 3),
        volproc.downscale(labels, 2),
        volproc.upscale(labels, 2),
    ]


def test_threads_and_blocks_give_the_same_as_one_block() -> None:
    labels = labels_of()
    whole = dask.compute(*everything(da.from_array(labels, chunks=-1)), scheduler="sync")
    chunked = everything(da.from_array(labels, chunks=(5, 5, 6)))
    for one, other in zip(whole, dask.compute(*chunked, scheduler="threads"), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_tasks_travel_and_find_scratch_and_tables_by_their_paths() -> None:
    labels = da.from_array(labels_of(), chunks=(5, 5, 11))
    for lazy in (volproc.fill_holes(labels), volproc.smooth(labels, fraction=0.1)):
        travelled = cloudpickle.loads(cloudpickle.dumps(dict(lazy.__dask_graph__())))
        here = lazy.compute(scheduler="sync")
        for chunk in iterate_chunks(lazy.chunks):
            there = dask.get(travelled, (lazy.name, *chunk.index))
            np.testing.assert_array_equal(there, here[chunk.region])


def test_one_chunk_of_a_result_may_be_asked_for_alone_and_twice() -> None:
    labels = labels_of()
    for lazy in everything(da.from_array(labels, chunks=(5, 6, 4))):
        if isinstance(lazy, da.Array):
            part = (slice(0, 3), slice(7, 9), slice(5, 9))
            whole = lazy.compute(scheduler="sync")
            np.testing.assert_array_equal(lazy[part].compute(scheduler="sync"), whole[part])


def test_a_block_costs_two_tasks_beside_the_tree() -> None:
    source = da.from_array(np.zeros((16, 16, 16), np.uint8), chunks=2)
    blocks = source.npartitions
    results = everything(source)[:7]
    operations = [results[0], results[2], results[3], results[4], results[5]]
    for lazy in operations:
        tasks = len(dict(lazy.__dask_graph__()))
        inputs = len({key for key in dict(lazy.__dask_graph__()) if "array-" in str(key)})
        assert tasks - inputs <= 2 * blocks + 2 * blocks // 15 + 6 * blocks  # classes, masks
    lean = len(dict(results[3].__dask_graph__())) - len(dict(source.__dask_graph__()))
    assert lean <= 2 * blocks + blocks // 7


def test_a_lookup_reads_what_was_written(tmp_path) -> None:
    lookup = LookupFiles(str(tmp_path / "table"))
    keys = np.array([3, 9, 2**64 - 1], np.uint64)
    lookup.write(keys, np.array([30, 90, 7]))
    assert lookup.find(np.array([9, 4, 2**64 - 1, 3], np.uint64)).tolist() == [90, 0, 7, 30]
    lookup.write(keys[:0], np.zeros(0, np.int64))
    assert lookup.find(keys).tolist() == [0, 0, 0]


def test_other_volumes_are_cut_like_the_labels() -> None:
    labels = da.zeros((4, 6), dtype=int, chunks=(3, 2))
    assert beside(labels, da.ones((4, 6), chunks=4), "mask").chunks == labels.chunks
    with pytest.raises(ShapeError, match="labels and mask differ"):
        beside(labels, da.ones((4, 7)), "mask")
    assert check_labels(da.concatenate([labels, labels[:0]])).chunks == labels.chunks


def test_scratch_goes_when_a_computation_fails(tmp_path) -> None:
    stage = Stage(da.full((2, 3), -1, chunks=1), "test", tmp_path)
    folder = stage.store.folder
    lazy = volproc.fill_holes(
        da.from_array(np.array([[1, 2], [3, -1]]), chunks=1), scratch=tmp_path
    )
    with pytest.raises(volproc.VolprocError, match="got -1"):
        lazy.compute(scheduler="sync")
    del lazy, stage
    assert not [path for path in tmp_path.iterdir() if path.name == folder]
