"""Objects from slices: those of the whole stack for every cut, lazily."""

from __future__ import annotations

import gc
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
from volproc.core.errors import ConfigError, DtypeError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.link import link
from volproc.metrics.overlap import dice
from volproc.reduce.linking import LinkRule, link_array

SHAPE = (7, 5, 11)

DATA = Path(__file__).parents[2].parent / "shared" / "data"


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=4))), n]).tolist())
        for n in shape
    )


def stack(seed: int, shape: tuple[int, ...] = SHAPE, dtype: str = "u2") -> np.ndarray:
    """Instances that keep a little of their place, under labels of their slice; some missing."""
    generator = np.random.default_rng(seed)
    field = ndi.gaussian_filter(generator.normal(size=shape), (1, 1, 1.5))
    labels = np.zeros(shape, dtype)
    for z, plane in enumerate(field):
        found, count = ndi.label(plane > np.quantile(plane, 0.55))
        keep = generator.random(count) < 0.8
        numbers = generator.permutation(200)[:count] + 1
        labels[z] = np.append(0, numbers * keep)[found]
    return labels


def computed(lazy: tuple[Any, Any], scheduler: str = "sync") -> tuple[np.ndarray, int]:
    return dask.compute(*lazy, scheduler=scheduler)


@given(
    st.integers(0, 9999),
    cuts(),
    st.integers(1, 4),
    st.sampled_from(["hungarian", "containment"]),
    st.sampled_from([0.05, 0.3, 0.6]),
    st.booleans(),
)
def test_objects_are_those_of_the_whole_stack_for_every_cut(
    seed, chunks, distance, method, min_iou, fill_gaps
) -> None:
    slices = stack(seed)
    rule = LinkRule(min_iou, distance, method)
    expected, num_expected = link_array(slices, rule, fill_gaps=fill_gaps)
    lazy = link(
        da.from_array(slices, chunks=chunks),
        min_iou=min_iou,
        max_distance_z=distance,
        method=method,
        fill_gaps=fill_gaps,
    )
    assert lazy[0].chunks == chunks
    labels, num_objects = computed(lazy)
    np.testing.assert_array_equal(labels, expected)
    assert num_objects == num_expected == expected.max()
    assert labels.dtype == lazy[0].dtype == np.uint32


@given(st.integers(0, 9999), cuts(), st.sampled_from([0.0, 0.25, 0.6]))
def test_stitch3d_is_that_of_the_whole_stack_for_every_cut(seed, chunks, min_iou) -> None:
    slices = stack(seed)
    slices[np.random.default_rng(seed).random(len(slices)) < 0.2] = 0
    rule = LinkRule(min_iou, 1, "stitch3d")
    lazy = link(da.from_array(slices, chunks=chunks), method="stitch3d", min_iou=min_iou)
    labels, num_objects = computed(lazy)
    expected, num_expected = link_array(slices, rule)
    np.testing.assert_array_equal(labels, expected)
    assert num_objects == num_expected == len(np.unique(expected[expected > 0]))


@pytest.mark.parametrize("fill_gaps", [False, True])
def test_workers_and_many_blocks_change_nothing(fill_gaps) -> None:
    slices = stack(4, (9, 13, 17))
    expected, _ = link_array(slices, LinkRule(0.2, 3), fill_gaps=fill_gaps)
    options = {"min_iou": 0.2, "max_distance_z": 3, "fill_gaps": fill_gaps}
    for chunks in ((1, 4, 9), (2, 13, 17), (4, 6, 8)):
        lazy = link(da.from_array(slices, chunks=chunks), **options)
        for _ in range(2):
            np.testing.assert_array_equal(computed(lazy, "threads")[0], expected)


def test_more_tiles_than_a_task_joins() -> None:
    slices = stack(5, (3, 13, 19))
    lazy = link(da.from_array(slices, chunks=(2, 2, 3)))
    assert lazy[0].npartitions > 2 * 16 * 3  # a slab
    np.testing.assert_array_equal(computed(lazy)[0], link_array(slices)[0])


def test_a_part_alone_is_that_of_the_whole() -> None:
    slices = stack(6, (9, 7, 13))
    expected, _ = link_array(slices, fill_gaps=True)
    labels, _ = link(da.from_array(slices, chunks=(2, 3, 13)), fill_gaps=True)
    np.testing.assert_array_equal(labels[3:5, 2:6].compute(), expected[3:5, 2:6])


def test_distances_beyond_the_stack_are_as_far_as_it_goes() -> None:
    slices = np.zeros((6, 2, 3), "u1")
    slices[0], slices[5] = 9, 4
    lazy = link(da.from_array(slices, chunks=1), max_distance_z=10**12, fill_gaps=True)
    labels, count = computed(lazy)
    assert count == 1
    assert (labels == 1).all()


def test_one_object_through_all_blocks_is_one() -> None:
    slices = np.ones((7, 5, 11), bool)
    labels, count = computed(link(da.from_array(slices, chunks=(1, 2, 3))))
    assert count == 1
    assert (labels == 1).all()


def test_single_voxels_and_single_slices_are_objects() -> None:
    slices = np.zeros((1, 5, 11), int)
    slices[0, 4, 10], slices[0, 0, 3] = 7, 9
    labels, count = computed(link(da.from_array(slices, chunks=(1, 2, 4))))
    assert count == 2
    assert (labels[0, 0, 3], labels[0, 4, 10]) == (1, 2)


@pytest.mark.parametrize("method", ["hungarian", "containment", "stitch3d"])
def test_an_empty_stack_has_no_objects(method) -> None:
    labels, count = computed(link(da.zeros(SHAPE, dtype="u1", chunks=3), method=method))
    assert count == 0
    assert not labels.any()


def test_labels_of_connectomics_are_large() -> None:
    slices = stack(7).astype(np.uint64)
    large = np.where(slices > 0, slices * np.uint64(2**40) + np.uint64(98_000_000), 0)
    expected, _ = link_array(slices)
    labels, _ = computed(link(da.from_array(large.astype(np.uint64), chunks=(2, 3, 4))))
    np.testing.assert_array_equal(labels, expected)


def test_a_volume_keeps_its_frame() -> None:
    data = da.from_array(stack(0), chunks=4)
    volume = Volume(data, (200.0, 10.0, 10.0), name="cells")
    labels, count = volproc.link(volume)
    assert isinstance(labels, Volume)
    assert (labels.voxel_size, labels.name) == (volume.voxel_size, "cells labels")
    assert count.compute() == labels.data.max().compute()


def test_objects_must_fit_into_the_type() -> None:
    slices = da.from_array((np.arange(300) + 1).reshape(1, 20, 15), chunks=5)
    assert link(slices, dtype="i8")[0].compute(scheduler="sync").dtype == np.int64
    with pytest.raises(DtypeError, match=r"up to 300 do not fit into uint8.*uint64"):
        link(slices, dtype=np.uint8)[0].compute(scheduler="sync")


def test_each_chunk_of_the_slices_is_computed_once() -> None:
    calls = []

    def segment(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(stack(1), chunks=(2, 4, 11))
    slices = source.map_blocks(segment, dtype="u2", meta=np.empty((0, 0, 0), "u2"))
    dask.compute(*link(slices, fill_gaps=True, max_distance_z=3), scheduler="sync")
    assert len(calls) == source.npartitions


def test_two_tasks_a_block_and_a_few_a_slab() -> None:
    slices = da.zeros((30, 40, 40), dtype="u1", chunks=10)
    labels, _ = link(slices)
    own = len(labels.__dask_graph__()) - len(slices.__dask_graph__())
    assert own == 2 * 48 + 3 * 3 + 2  # join, links and numbers; the scratch and the count


def test_what_stands_between_goes_with_the_array(tmp_path) -> None:
    labels, count = link(da.from_array(stack(1), chunks=3), scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    labels.compute()
    assert len(list(tmp_path.iterdir())) == 1
    del labels, count
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_computed_while_the_graph_is_built() -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed while the graph was built")

    source = da.zeros((9, 13, 11), dtype="u1", chunks=4)
    slices = da.map_blocks(explode, source, dtype="u1", meta=np.empty((0, 0, 0), "u1"))
    with dask.config.set(scheduler=explode):
        link(slices, fill_gaps=True)


@pytest.mark.parametrize(
    ("slices", "options", "error", "text"),
    [
        (da.zeros(SHAPE), {}, DtypeError, "integer labels, got float64"),
        (np.zeros(SHAPE, int), {}, DtypeError, "got ndarray. Wrap .*from_array"),
        (da.zeros((5, 7), dtype=int), {}, ShapeError, r"stack \(z, y, x\).*got shape \(5, 7\)"),
        (da.zeros((2, 3, 5, 7), dtype=int), {}, ShapeError, "one channel"),
        (da.zeros((0, 5, 7), dtype=int), {}, ShapeError, r"at least one voxel.*\(0, 5, 7\)"),
        (da.zeros(SHAPE, dtype=int), {"min_iou": 2}, ConfigError, "between 0 and 1, got 2"),
        (da.zeros(SHAPE, dtype=int), {"method": "iou"}, ConfigError, "known are: containment"),
        (
            da.zeros(SHAPE, dtype=int),
            {"method": "stitch3d", "fill_gaps": True},
            ConfigError,
            "nothing to fill",
        ),
    ],
)
def test_stacks_that_cannot_be_linked_are_refused(slices, options, error, text) -> None:
    with pytest.raises(error, match=text):
        link(slices, **options)


def test_negative_labels_are_refused_with_the_block_at_hand() -> None:
    slices = da.from_array(np.full(SHAPE, -3), chunks=4)
    with pytest.raises(DtypeError, match="got -3"):
        link(slices)[0].compute(scheduler="sync")


def real_labels() -> np.ndarray:
    path = DATA / "labels" / "ffn_fib25_segmentation.npz"
    if not path.exists():
        pytest.skip("no real labels here")
    return np.load(path)["segmentation"][40:90, 30:190, 60:230]


def test_real_neurites_come_back_from_their_slices() -> None:
    truth = real_labels()
    generator = np.random.default_rng(0)
    slices = np.zeros(truth.shape, np.int64)
    for z, plane in enumerate(truth):
        found = np.zeros(plane.shape, int)
        for value in np.unique(plane[plane > 0]):
            parts, count = ndi.label(plane == value)
            found[parts > 0] = found.max() + parts[parts > 0]
        slices[z] = np.append(0, generator.permutation(10**5)[: found.max()] + 1)[found]
    expected, _ = link_array(slices)
    lazy = link(da.from_array(slices, chunks=(16, 64, 100)))
    labels, count = computed(lazy, "threads")
    np.testing.assert_array_equal(labels, expected)
    for value in np.argsort(np.bincount(truth[truth > 0]))[-10:]:
        own = np.bincount(labels[truth == value])
        assert dice(labels == own.argmax(), truth == value) > 0.6
    for number in np.argsort(np.bincount(labels[labels > 0]))[-10:]:
        shares = np.bincount(truth[labels == number])
        assert shares.max() > 0.99 * shares.sum()
    assert count < sum(len(np.unique(plane)) for plane in slices) / 2
