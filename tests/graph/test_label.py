"""Components: the whole-volume labels for every cut, lazily."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask._task_spec import convert_legacy_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.chunks import iterate_chunks
from volproc.graph.label import label
from volproc.graph.save import save
from volproc.io.open import open_

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=4))), n]).tolist())
        for n in shape
    )


def masks(shape: tuple[int, ...] = SHAPE, top: int = 1) -> st.SearchStrategy[np.ndarray]:
    """Volumes with many small and some large objects."""
    return arrays(np.uint8, shape, elements=st.integers(0, top), fill=st.just(0))


def dense(seed: int, shape: tuple[int, ...] = SHAPE, part: float = 0.6) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) < part


def volume_of(array: np.ndarray, chunks: Any = -1) -> Volume:
    return Volume(da.from_array(array, chunks=chunks), (10.0,) * array.ndim, name="mask")


@given(st.integers(0, 999), cuts(), st.sampled_from([1, 2, 3]), st.sampled_from([0.2, 0.45, 0.7]))
def test_labels_are_scipys_for_every_cut(seed, chunks, connectivity, part) -> None:
    mask = dense(seed, part=part)
    structure = ndi.generate_binary_structure(3, connectivity)
    expected, num_expected = ndi.label(mask, structure)
    lazy, number = label(da.from_array(mask, chunks=chunks), connectivity=connectivity)
    assert lazy.chunks == chunks
    labels, num_objects = dask.compute(lazy, number, scheduler="sync")
    np.testing.assert_array_equal(labels, expected)
    assert num_objects == num_expected
    assert labels.dtype == lazy.dtype == np.uint32


@settings(max_examples=10)
@given(st.integers(0, 999), cuts(), st.sampled_from([1, 2, 3]))
def test_a_second_pass_is_the_identity_on_objects_and_on_masks(seed, chunks, connectivity) -> None:
    mask = da.from_array(dense(seed, part=0.3), chunks=chunks)
    labels, _ = label(mask, connectivity=connectivity)
    for again in (labels, labels > 0):  # every object a class of its own, or all of one class
        second, _ = label(again, connectivity=connectivity)
        one, other = dask.compute(labels, second, scheduler="sync")
        np.testing.assert_array_equal(other, one)


@settings(max_examples=10)
@given(st.integers(0, 99), cuts(), st.randoms(use_true_random=False))
def test_the_order_in_which_blocks_are_done_changes_nothing(seed, chunks, random) -> None:
    mask = dense(seed, part=0.5)
    labels, number = label(da.from_array(mask, chunks=chunks), connectivity=2)
    found = run_in_any_order(labels, number, random)
    expected, count = ndi.label(mask, ndi.generate_binary_structure(3, 2))
    np.testing.assert_array_equal(found[0], expected)
    assert found[1] == count


def run_in_any_order(labels: da.Array, number: Any, random: Any) -> tuple[np.ndarray, int]:
    """Run a graph's tasks, any that is ready next."""
    graph = convert_legacy_graph(dict(labels.__dask_graph__()))
    waiting = {key: set(task.dependencies) for key, task in graph.items()}
    done: dict[Any, Any] = {}
    while waiting:
        key = random.choice([k for k, needs in waiting.items() if needs <= done.keys()])
        task = graph[key]
        done[key] = task({k: done[k] for k in task.dependencies})
        del waiting[key]
    out = np.zeros(labels.shape, labels.dtype)
    for chunk in iterate_chunks(labels.chunks):
        out[chunk.region] = done[(labels.name, *chunk.index)]
    return out, done[number.key]


@given(masks(), cuts())
def test_sparse_labels_are_scipys_for_every_cut(mask, chunks) -> None:
    lazy, _ = label(da.from_array(mask, chunks=chunks))
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), ndi.label(mask)[0])


@given(st.integers(0, 99), cuts((9, 13)), st.sampled_from([1, 2]))
def test_a_micrograph_is_labelled_too(seed, chunks, connectivity) -> None:
    mask = dense(seed, (9, 13))
    expected, _ = ndi.label(mask, ndi.generate_binary_structure(2, connectivity))
    lazy, _ = label(da.from_array(mask, chunks=chunks), connectivity=connectivity)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def relabel_by_first_voxel(labels: np.ndarray) -> np.ndarray:
    values, first = np.unique(labels, return_index=True)
    ids = values[np.argsort(first)]
    numbers = {0: 0} | {v: i for i, v in enumerate(ids[ids > 0], 1)}
    return np.vectorize(numbers.get)(labels)


@given(st.integers(0, 99), cuts(), st.sampled_from([1, 3]))
def test_classes_are_labelled_one_by_one_with_ids_of_the_first_voxels(
    seed, chunks, connectivity
) -> None:
    classes = np.random.default_rng(seed).integers(0, 3, SHAPE).astype(np.uint8)
    structure = ndi.generate_binary_structure(3, connectivity)
    expected = np.zeros(SHAPE, int)
    for value in (1, 2):
        found, _ = ndi.label(classes == value, structure)
        expected[found > 0] = found[found > 0] + expected.max()
    lazy, _ = label(da.from_array(classes, chunks=chunks), connectivity=connectivity)
    labels = lazy.compute(scheduler="sync")
    np.testing.assert_array_equal(labels, relabel_by_first_voxel(expected))


@pytest.mark.parametrize(
    "dtype", ["?", "i1", "u1", ">i2", "<u2", ">i4", "u4", ">i8", "<i8", ">u8", "<u8"]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_all_integers_in_either_byte_order_and_layout(dtype, order) -> None:
    kind = np.dtype(dtype)
    values = [0, 1] if kind.kind == "b" else [0, np.iinfo(kind).min, np.iinfo(kind).max]
    if kind.kind == "u":
        values[1] = np.iinfo(kind).max - 1
    picked = np.random.default_rng(3).integers(0, len(values), SHAPE)
    array = np.asarray(np.array(values, kind)[picked], order=order)
    assert array.dtype == kind
    expected, _ = label(da.from_array(picked, chunks=-1))
    labels, _ = label(da.from_array(array, chunks=(2, 7, 4)))
    np.testing.assert_array_equal(labels.compute(), expected.compute())


def test_chunks_that_are_views_are_labelled_as_they_are_seen() -> None:
    mask = dense(4, (10, 14, 22), 0.4)
    seen = mask[::2, ::-2, 1::2]
    labels, _ = label(da.from_array(mask, chunks=3)[::2, ::-2, 1::2])
    np.testing.assert_array_equal(labels.compute(), ndi.label(seen)[0])
    turned, _ = label(da.from_array(mask, chunks=3).transpose(2, 0, 1))
    np.testing.assert_array_equal(turned.compute(), ndi.label(mask.transpose(2, 0, 1))[0])


def test_many_blocks_go_through_every_level_of_the_tree() -> None:
    mask = dense(3, (17, 19, 23), 0.35)
    lazy, number = label(da.from_array(mask, chunks=(1, 19, 2)))
    assert lazy.npartitions > 16 * 12
    expected, num_expected = ndi.label(mask)
    np.testing.assert_array_equal(lazy.compute(), expected)
    assert number.compute() == num_expected


def test_a_volume_keeps_its_frame() -> None:
    volume = volume_of(dense(0), 4)
    labels, number = label(volume)
    assert isinstance(labels, Volume)
    assert (labels.voxel_size, labels.name) == (volume.voxel_size, "mask labels")
    assert number.compute() == labels.data.max().compute()


def test_an_empty_mask_has_no_objects() -> None:
    labels, number = label(da.zeros(SHAPE, dtype=bool, chunks=3))
    assert number.compute() == 0
    assert not labels.compute().any()


def test_labels_may_be_of_another_type_if_they_fit() -> None:
    mask = da.from_array(np.indices((7, 8, 18)).sum(0) % 2 == 0, chunks=5)
    assert label(mask, dtype=np.int64)[0].compute().dtype == np.int64
    with pytest.raises(DtypeError, match=r"504 objects do not fit into uint8.*uint64"):
        label(mask, dtype=np.uint8)[0].compute(scheduler="sync")


def test_each_chunk_of_the_mask_is_computed_once() -> None:
    calls = []

    def threshold(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block > 0

    source = da.from_array(dense(1).astype("u1"), chunks=(2, 4, 11))
    mask = source.map_blocks(threshold, dtype=bool, meta=np.empty((0, 0, 0), bool))
    dask.compute(*label(mask), scheduler="sync")
    assert len(calls) == source.npartitions


def test_saving_computes_each_chunk_of_the_mask_once(tmp_path) -> None:
    calls = []

    def threshold(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block > 0

    array = dense(1, (20, 140, 30), 0.2)
    source = da.from_array(array.astype("u1"), chunks=(7, 64, 11))
    mask = source.map_blocks(threshold, dtype=bool, meta=np.empty((0, 0, 0), bool))
    labels, number = label(Volume(mask, (10.0,) * 3))
    save(labels, tmp_path / "alone.zarr")  # chunks that storage wants otherwise are cut anew
    assert len(calls) == mask.npartitions
    calls.clear()
    written = save(labels, tmp_path / "together.zarr", compute=False)
    _, count = dask.compute(written, number)
    assert len(calls) == mask.npartitions
    expected, num_expected = ndi.label(array)
    assert count == num_expected
    for name in ("alone", "together"):
        found = open_(tmp_path / f"{name}.zarr").data.compute()
        np.testing.assert_array_equal(found, expected)


def test_the_type_holds_as_many_objects_as_there_may_be() -> None:
    small = da.zeros((1000, 1000, 1000), dtype=bool, chunks=500)
    large = da.zeros((2000, 2000, 2000), dtype=bool, chunks=500)
    assert label(small)[0].dtype == np.uint32
    assert label(large)[0].dtype == np.uint64
    assert label(large, dtype=np.uint32)[0].dtype == np.uint32
    with pytest.raises(DtypeError, match="labels are integers, got dtype float32"):
        label(small, dtype=np.float32)


def test_worker_processes_give_the_same_and_leave_nothing(tmp_path) -> None:
    command = [sys.executable, "-c", IN_PROCESSES, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["whole True 0", "failing True 0"]
    assert list(tmp_path.iterdir()) == []


IN_PROCESSES = """
import gc, sys, time
from pathlib import Path
import dask, dask.array as da, numpy as np
from distributed import Client, LocalCluster
from scipy import ndimage as ndi
import volproc

def fail(block, block_info=None):
    if block_info[None]["chunk-location"] == (1, 1, 0):
        raise ValueError("no such voxel")
    return block

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    mask = np.random.default_rng(0).random((9, 14, 11)) < 0.4
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(processes=True, **options) as cluster, Client(cluster) as client:
        array = da.from_array(mask, chunks=(5, 5, 11))
        failing = array.map_blocks(fail, dtype=bool, meta=np.empty((0, 0, 0), bool))
        for name, blocks in (("whole", array), ("failing", failing)):
            labels, number = volproc.label(blocks, scratch=folder)
            try:
                found, count = dask.compute(labels, number)
                is_right = bool((found == ndi.label(mask)[0]).all() and count == ndi.label(mask)[1])
            except ValueError as error:
                is_right = name == "failing" and "no such voxel" in str(error)
            for _ in range(100):  # workers hear a little later that their results are done with
                left = len(list(folder.iterdir()))
                if not left:
                    break
                client.run(gc.collect)
                time.sleep(0.05)
            print(name, is_right, left)
"""


def test_provisional_labels_go_at_the_end_of_each_computation(tmp_path) -> None:
    seen = []

    def watch(block: np.ndarray) -> np.ndarray:
        seen.extend(tmp_path.glob("*/labels/*.npy"))
        return block

    labels, number = label(da.from_array(dense(1), chunks=3), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    for _ in range(2):
        seen.clear()
        labels.map_blocks(
            watch, dtype=labels.dtype, meta=np.empty((0, 0, 0), labels.dtype)
        ).compute()
        assert len(seen) > 0
        assert list(tmp_path.iterdir()) == []
    assert number.compute() > 0
    assert list(tmp_path.iterdir()) == []


def test_provisional_labels_go_when_the_mask_fails(tmp_path) -> None:
    def fail(block: np.ndarray, block_info: Any = None) -> np.ndarray:
        if block_info[None]["chunk-location"] == (1, 2, 0):
            raise RuntimeError("no such voxel")
        return block > 0

    mask = da.from_array(dense(1).astype("u1"), chunks=(3, 3, 11)).map_blocks(
        fail, dtype=bool, meta=np.empty((0, 0, 0), bool)
    )
    labels, _ = label(mask, scratch=tmp_path)
    with pytest.raises(RuntimeError, match="no such voxel"):
        labels.compute(scheduler="sync")
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mask", "options", "error", "text"),
    [
        (np.zeros(SHAPE, "f4"), {}, DtypeError, "got float32.*threshold"),
        (np.zeros((0, 7, 11), bool), {}, ShapeError, "empty volume, got shape"),
        (np.zeros(SHAPE, bool), {"connectivity": 4}, ConfigError, "connectivity"),
        (np.zeros((7, 11), bool), {"connectivity": 3}, ConfigError, "connectivity"),
    ],
)
def test_masks_that_cannot_be_labelled_are_refused(mask, options, error, text) -> None:
    with pytest.raises(error, match=text):
        label(da.from_array(mask), **options)


def test_chunks_of_unknown_size_are_refused_with_the_cure() -> None:
    flat = da.from_array(np.arange(12), chunks=4)
    unknown = flat[flat > 3][:, None]
    with pytest.raises(ShapeError, match="compute_chunk_sizes"):
        label(unknown)


def test_nothing_is_computed_while_graphs_are_built() -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed while the graph was built")

    def never(block: np.ndarray) -> np.ndarray:
        pytest.fail("a voxel was computed while the graph was built")

    source = da.zeros((9, 13, 11), dtype="u1", chunks=4)
    array = da.map_blocks(never, source, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    with dask.config.set(scheduler=explode):
        volume = Volume(array, (10.0,) * 3)
        label(volume)
