"""Choice of objects: the whole-volume answer for every cut, lazily."""

from __future__ import annotations

from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

import volproc
from volproc.core.errors import ConfigError, DtypeError, ShapeError, VoxelSizeError
from volproc.core.volume import Volume
from volproc.graph.filter_objects import filter_objects

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def objects(seed: int, shape: tuple[int, ...] = SHAPE, part: float = 0.35) -> np.ndarray:
    """Connected objects with labels out of order."""
    rng = np.random.default_rng(seed)
    labels, number = ndi.label(rng.random(shape) < part)
    return np.concatenate([[0], rng.permutation(number) + 3])[labels].astype(np.uint16)


def touches(part: np.ndarray, axes: str) -> bool:
    names = "zyx"[-part.ndim :]
    return any(part.take(end, names.index(axis)).any() for axis in axes for end in (0, -1))


def kept(labels: np.ndarray, stays: Any) -> np.ndarray:
    """Oracle: object by object on the whole volume."""
    out = np.zeros_like(labels)
    for label in np.unique(labels)[1:]:
        if stays(labels == label):
            out[labels == label] = label
    return out


def run(item: Any) -> Any:
    return dask.compute(item, scheduler="sync")[0]


@given(st.integers(0, 99), cuts(), st.integers(0, 4), st.integers(4, 12))
def test_sizes_are_those_of_the_whole_volume_for_every_cut(seed, chunks, least, greatest) -> None:
    labels = objects(seed)
    lazy = filter_objects(
        da.from_array(labels, chunks=chunks), min_voxels=least, max_voxels=greatest
    )
    assert (lazy.chunks, lazy.dtype) == (chunks, labels.dtype)
    expected = kept(labels, lambda part: least <= part.sum() <= greatest)
    result = run(lazy)
    np.testing.assert_array_equal(result, expected)
    assert result.dtype == labels.dtype
    again = filter_objects(lazy, min_voxels=least, max_voxels=greatest)
    np.testing.assert_array_equal(run(again), expected)


@given(st.integers(0, 99), cuts(), st.sampled_from(["zyx", "z", "yx", "x"]), st.booleans())
def test_edges_are_those_of_the_volume_and_not_of_blocks(seed, chunks, edges, touching) -> None:
    labels = objects(seed, part=0.3)
    lazy = filter_objects(da.from_array(labels, chunks=chunks), touching_edge=touching, edges=edges)
    expected = kept(labels, lambda part: touches(part, edges) == touching)
    np.testing.assert_array_equal(run(lazy), expected)


@given(st.integers(0, 99), cuts((9, 13)), st.sampled_from([None, "y"]))
def test_a_micrograph_has_no_edge_along_z(seed, chunks, edges) -> None:
    labels = objects(seed, (9, 13))
    lazy = filter_objects(da.from_array(labels, chunks=chunks), touching_edge=False, edges=edges)
    expected = kept(labels, lambda part: not touches(part, edges or "yx"))
    np.testing.assert_array_equal(run(lazy), expected)


@given(st.integers(0, 99), cuts(), cuts(), st.sampled_from([1e-9, 0.25, 0.5, 1.0]))
def test_a_mask_counts_voxels_of_the_whole_object(seed, chunks, others, part) -> None:
    labels = objects(seed)
    mask = np.random.default_rng(seed + 1).normal(0, 1, SHAPE)
    mask[np.abs(mask) < 0.7] = 0
    lazy = filter_objects(
        da.from_array(labels, chunks=chunks),
        mask=da.from_array(mask, chunks=others),
        min_inside=part,
    )
    expected = kept(labels, lambda at: (mask[at] != 0).mean() >= part)
    np.testing.assert_array_equal(run(lazy), expected)


@given(st.integers(0, 99), cuts())
def test_renumbered_objects_follow_raster_order(seed, chunks) -> None:
    labels = objects(seed)
    lazy = filter_objects(da.from_array(labels, chunks=chunks), min_voxels=3, renumber=True)
    stays = kept(labels, lambda part: part.sum() >= 3)
    order = [v for v in dict.fromkeys(stays.reshape(-1).tolist()) if v]
    expected = np.zeros_like(labels)
    for i, label in enumerate(order, 1):
        expected[stays == label] = i
    np.testing.assert_array_equal(run(lazy), expected)


def test_labels_are_chosen_by_name_and_conditions_add_up() -> None:
    labels = da.from_array(np.array([[5, 5, 0, 8], [2, 2, 0, 8], [2, 7, 7, 8]], "i8"), chunks=2)

    def left(**options: Any) -> list[int]:
        return np.unique(run(filter_objects(labels, **options)))[1:].tolist()

    assert left(keep=[5, 7, 99]) == [5, 7]
    assert left(remove=np.array([5, 7])) == [2, 8]
    assert left(keep=[5, 8], remove=[8]) == [5]
    assert left(keep=[]) == []
    assert left(keep=[2, 5, 7], min_voxels=3) == [2]
    assert left() == [2, 5, 7, 8]


def test_volumes_are_counted_in_cubic_nanometres() -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[0, 0, :2], array[3, 2, :5] = 1, 2
    # 20 Å × 10 Å × 10 Å: a voxel has 2 nm³
    volume = Volume(da.from_array(array, chunks=2), (20.0, 10.0, 10.0), name="particles")
    result = volproc.filter_objects(volume, min_volume_nm3=10.0)
    assert isinstance(result, Volume)
    assert (result.voxel_size, result.name) == (volume.voxel_size, "particles")
    assert np.unique(run(result.data)).tolist() == [0, 2]
    assert np.unique(run(volproc.filter_objects(volume, max_volume_nm3=4.0).data)).tolist() == [
        0,
        1,
    ]
    bare = filter_objects(volume.data, min_volume_nm3=10.0, voxel_size=(10.0, 10.0, 10.0))
    assert not run(bare).any()


@pytest.mark.parametrize("fill", [0, 1])
def test_an_empty_and_a_full_volume(fill) -> None:
    labels = da.full(SHAPE, fill, dtype="u4", chunks=(2, 3, 11))
    assert (run(filter_objects(labels, min_voxels=385)) == fill).all()
    assert not run(filter_objects(labels, touching_edge=False)).any()


def test_an_object_of_one_voxel_and_a_boolean_object() -> None:
    labels = np.zeros(SHAPE, bool)
    labels[2, 3, 4] = True
    lazy = da.from_array(labels, chunks=2)
    result = run(filter_objects(lazy, min_voxels=1, max_voxels=1))
    assert result.dtype == bool
    np.testing.assert_array_equal(result, labels)
    assert not run(filter_objects(lazy, min_voxels=2)).any()


LABELS = np.ones(SHAPE, int)


@pytest.mark.parametrize(
    ("labels", "options", "error", "text"),
    [
        (np.zeros(SHAPE), {}, DtypeError, "got float64"),
        (LABELS, {"min_voxels": -1}, ConfigError, "min_voxels.*got -1"),
        (LABELS, {"max_voxels": float("nan")}, ConfigError, "max_voxels.*nan"),
        (LABELS, {"min_voxels": 5, "max_voxels": 4}, ConfigError, "got 5 and 4"),
        (LABELS, {"min_volume_nm3": 5}, VoxelSizeError, "voxel_size= in Å"),
        (LABELS[0], {"min_volume_nm3": 5, "voxel_size": (1, 1)}, ConfigError, "areas"),
        (LABELS, {"edges": "x"}, ConfigError, "touching_edge=False"),
        (LABELS, {"edges": "w", "touching_edge": True}, ConfigError, "'w'"),
        (LABELS[0], {"edges": "z", "touching_edge": True}, ConfigError, "among yx"),
        (LABELS, {"touching_edge": "no"}, ConfigError, "'no'"),
        (LABELS, {"mask": da.ones((5, 7, 12))}, ShapeError, r"got \(5, 7, 11\) and \(5, 7, 12\)"),
        (LABELS, {"mask": da.ones(SHAPE), "min_inside": 0}, ConfigError, r"\(0, 1\], got 0"),
        (LABELS, {"keep": [1.5]}, DtypeError, "keep is a list of integer labels"),
        (LABELS, {"remove": [0]}, ConfigError, "remove is a list of positive labels, got 0"),
    ],
)
def test_impossible_conditions_are_refused(labels, options, error, text) -> None:
    with pytest.raises(error, match=text):
        filter_objects(da.from_array(labels), **options)


def test_each_chunk_of_labels_and_mask_is_computed_once() -> None:
    calls = []

    def load(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    source = da.from_array(objects(1), chunks=(2, 4, 11))
    lazy = source.map_blocks(load, dtype="u2", meta=np.empty((0, 0, 0), "u2"))
    result = filter_objects(lazy, mask=lazy > 0, touching_edge=True)
    assert calls == []
    run(result)
    assert len(calls) == source.npartitions
