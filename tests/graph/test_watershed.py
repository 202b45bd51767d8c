"""Watersheds: the labels of the whole volume, for every cut."""

from __future__ import annotations

import gc
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from skimage.segmentation import watershed as watershed_skimage

import volproc
from volproc.core.errors import ConfigError, DtypeError, NonFiniteError, PlanError, ShapeError
from volproc.core.volume import Volume
from volproc.graph.watershed import watershed as watershed_of_any_size
from volproc.reduce.distance import distance_block
from volproc.reduce.forest import flood_forest

SHAPE = (5, 7, 11)

watershed = partial(watershed_of_any_size, ties="object")
"""As for volumes that no task can hold; small ones would be flooded whole."""


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def scene(seed: int, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, ...]:
    """Heights with plateaus, markers inside and outside of a mask with many or few objects."""
    rng = np.random.default_rng(seed)
    heights = rng.integers(0, 5, shape).astype(np.float32)
    markers = np.where(rng.random(shape) < 0.1, rng.integers(1, 200, shape), 0).astype(np.int32)
    return heights, markers, rng.random(shape) < rng.choice([0.3, 0.6, 0.9])


def each_object_alone(heights, markers, mask, connectivity) -> np.ndarray:
    """scikit-image with one object after the other as the mask."""
    structure = ndi.generate_binary_structure(mask.ndim, connectivity)
    objects, count = ndi.label(mask, structure)
    labels = np.zeros_like(markers)
    for k in range(1, count + 1):
        inside = objects == k
        labels += watershed_skimage(heights, markers, connectivity=connectivity, mask=inside)
    return labels


def lazy(arrays: tuple[np.ndarray, ...], chunks: Any) -> list[da.Array]:
    return [da.from_array(a, chunks=chunks) for a in arrays]


@settings(max_examples=15)
@given(st.integers(0, 9999), cuts(), st.sampled_from([1, 2, 3]))
def test_objects_are_flooded_as_by_scikit_image_for_every_cut(seed, chunks, connectivity) -> None:
    arrays = scene(seed)
    heights, markers, mask = lazy(arrays, chunks)
    labels = watershed(heights, markers, mask=mask, connectivity=connectivity)
    assert (labels.chunks, labels.dtype) == (chunks, np.int32)
    np.testing.assert_array_equal(
        labels.compute(scheduler="sync"), each_object_alone(*arrays, connectivity)
    )


@settings(max_examples=15)
@given(st.integers(0, 9999), cuts(), st.sampled_from([1, 2, 3]))
def test_labels_are_those_of_the_whole_volume_where_markers_differ_in_height(
    seed, chunks, connectivity
) -> None:
    heights, markers, mask = scene(seed)
    chosen = markers > 0
    heights[chosen] = np.random.default_rng(seed).permutation(chosen.sum()) / 7 + 0.01
    expected = watershed_skimage(heights, markers, connectivity=connectivity, mask=mask)
    a, b, c = lazy((heights, markers, mask), chunks)
    labels = watershed(a, b, mask=c, connectivity=connectivity)
    np.testing.assert_array_equal(labels.compute(scheduler="sync"), expected)


@settings(max_examples=15)
@given(st.integers(0, 9999), cuts(), st.sampled_from([1, 2, 3]))
def test_ties_are_those_of_one_call_where_a_task_can_hold_the_volume(
    seed, chunks, connectivity
) -> None:
    arrays = scene(seed)  # 5 heights for some 40 markers
    heights, markers, mask = arrays
    expected = watershed_skimage(heights, markers, connectivity=connectivity, mask=mask)
    a, b, c = lazy(arrays, chunks)
    for options in ({}, {"ties": "scikit-image"}, {"max_object_voxels": heights.size}):
        labels = watershed_of_any_size(a, b, mask=c, connectivity=connectivity, **options)
        assert (labels.chunks, labels.dtype) == (chunks, np.int32)
        np.testing.assert_array_equal(labels.compute(scheduler="sync"), expected)


def test_objects_of_larger_volumes_are_flooded_alone() -> None:
    heights, markers, mask = scene(3)
    mask[:, 3] = False  # no object is as large as the volume
    a, b, c = lazy((heights, markers, mask), 4)
    labels = watershed_of_any_size(a, b, mask=c, max_object_voxels=mask.size - 1)
    alone = each_object_alone(heights, markers, mask, 1)
    np.testing.assert_array_equal(labels.compute(scheduler="sync"), alone)
    assert (alone != watershed_skimage(heights, markers, mask=mask)).any()


@settings(max_examples=10)
@given(st.integers(0, 9999), cuts(), st.sampled_from([1, 3]))
def test_without_a_mask_the_volume_is_one_object(seed, chunks, connectivity) -> None:
    heights, markers, _ = scene(seed)
    expected = watershed_skimage(heights, markers, connectivity=connectivity)
    labels = watershed(*lazy((heights, markers), chunks), connectivity=connectivity)
    np.testing.assert_array_equal(labels.compute(scheduler="sync"), expected)


@settings(max_examples=15)
@given(st.integers(0, 9999), cuts(), st.sampled_from([1, 2, 3]), st.booleans())
def test_forests_are_those_of_the_whole_volume_for_every_cut(
    seed, chunks, connectivity, is_masked
) -> None:
    heights, markers, mask = scene(seed)
    expected = flood_forest(
        heights, markers, mask if is_masked else None, connectivity=connectivity
    )
    a, b, c = lazy((heights, markers, mask), chunks)
    labels = watershed(
        a,
        b,
        mask=c if is_masked else None,
        connectivity=connectivity,
        method="forest",
        num_threads=2,
    )
    assert (labels.chunks, labels.dtype) == (chunks, np.int32)
    np.testing.assert_array_equal(labels.compute(scheduler="sync"), expected)


def spiral(size: int) -> np.ndarray:
    """A corridor of one voxel, that winds through a square to its centre."""
    mask = np.zeros((size, size), bool)
    y, x, dy, dx = 0, 0, 0, 1
    mask[y, x] = True
    while True:
        for _ in range(2):
            far = (y + 2 * dy, x + 2 * dx)
            is_free = all(0 <= a < size for a in (y + dy, x + dx)) and not (
                all(0 <= a < size for a in far) and mask[far]
            )
            if is_free:
                break
            dy, dx = dx, -dy
        if not is_free or mask[y + dy, x + dx]:
            return mask
        y, x = y + dy, x + dx
        mask[y, x] = True


@pytest.mark.parametrize("method", ["objects", "forest"])
def test_a_spiral_is_followed_through_all_blocks(method) -> None:
    mask = spiral(19)
    first, last = np.argwhere(mask)[0], np.array([9, 9])
    markers = np.zeros(mask.shape, np.uint8)
    markers[tuple(first)] = 5
    heights = np.random.default_rng(0).integers(0, 3, mask.shape)
    labels = watershed(*lazy((heights, markers), 4), mask=da.from_array(mask, 4), method=method)
    found = labels.compute()
    np.testing.assert_array_equal(found, np.where(mask, 5, 0))
    assert mask[tuple(last)] or mask[8:11, 8:11].any()


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("method", ["objects", "forest"])
def test_water_goes_through_blocks_that_touch_at_corners_only(method, ndim) -> None:
    mask = np.zeros((8,) * ndim, bool)
    mask[(np.arange(8),) * ndim] = True
    markers = np.zeros(mask.shape, np.int16)
    markers[(7,) * ndim] = 4  # against the order in which blocks are looked at
    a, b, c = lazy((mask * 1.0, markers, mask), 2)
    labels = watershed(a, b, mask=c, connectivity=ndim, method=method, num_threads=1)
    np.testing.assert_array_equal(labels.compute(scheduler="sync"), 4 * mask)


@pytest.mark.parametrize(("method", "shape"), [("objects", (17, 19, 11)), ("forest", (5, 7, 8))])
def test_many_blocks_go_through_the_trees(method, shape) -> None:
    heights, markers, mask = scene(3, shape)
    a, b, c = lazy((heights, markers, mask), (1, 19, 1))
    assert a.npartitions > 2 * 16
    found = watershed(a, b, mask=c, method=method).compute()
    if method == "objects":
        expected = each_object_alone(heights, markers, mask, 1)
    else:
        expected = flood_forest(heights, markers, mask)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("method", ["objects", "forest"])
def test_a_second_pass_with_its_own_labels_is_the_identity(method) -> None:
    heights, markers, mask = lazy(scene(5), 4)
    labels = watershed(heights, markers, mask=mask, method=method).compute()
    again = watershed(heights, da.from_array(labels, 3), mask=mask, method=method)
    np.testing.assert_array_equal(again.compute(), labels)


def test_a_volume_keeps_its_frame_and_chunks_may_differ() -> None:
    heights, markers, mask = scene(6)
    volume = Volume(da.from_array(heights, chunks=3), (10.0, 5.0, 5.0), name="membrane")
    seeds = Volume(da.from_array(markers, chunks=4), (10.0, 5.0, 5.0))
    classes = Volume(da.from_array(mask * 2, chunks=(5, 2, 5)), (10.0, 5.0, 5.0))
    classes.data[0, 0, 0] = 1  # classes are one mask
    found = watershed(volume, seeds, mask=classes)
    assert isinstance(found, Volume)
    assert (found.voxel_size, found.name) == (volume.voxel_size, "membrane labels")
    area = classes.data.compute() > 0
    np.testing.assert_array_equal(
        found.data.compute(), each_object_alone(heights, markers, area, 1)
    )
    forest = watershed(volume, seeds, mask=classes, method="forest")
    np.testing.assert_array_equal(forest.data.compute(), flood_forest(heights, markers, area))


@pytest.mark.parametrize("method", ["objects", "forest"])
def test_each_chunk_is_computed_once_and_the_scratch_goes(method, tmp_path: Path) -> None:
    calls: list[str] = []

    def counted(block: np.ndarray, what: str) -> np.ndarray:
        calls.append(what)
        return block

    arrays = scene(7)
    counting = [
        da.from_array(a, chunks=4).map_blocks(
            counted, what=what, dtype=a.dtype, meta=np.empty((0, 0, 0), a.dtype)
        )
        for a, what in zip(arrays, ("heights", "markers", "mask"), strict=True)
    ]
    labels = watershed(*counting[:2], mask=counting[2], method=method, scratch=tmp_path)
    assert calls == []
    assert list(tmp_path.iterdir()) == []
    labels.compute(scheduler="sync")
    assert sorted(calls) == sorted(["heights", "markers", "mask"] * labels.npartitions)
    assert len(list(tmp_path.iterdir())) == 1
    del labels
    gc.collect()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["objects", "forest"])
def test_there_are_three_tasks_a_block_besides_the_trees(method) -> None:
    shape = (16, 16, 16)
    heights, markers, mask = (da.ones(shape, dtype=kind, chunks=2) for kind in ("f4", "i4", "?"))
    labels = watershed(heights, markers, mask=mask, method=method)
    given = sum(a.npartitions for a in (heights, markers, mask))
    assert len(labels.__dask_graph__()) - given < 3.5 * labels.npartitions


@pytest.mark.parametrize("method", ["objects", "forest"])
def test_nan_heights_are_refused_inside_the_mask(method) -> None:
    heights, markers, mask = scene(8)
    heights[~mask] = np.nan
    arrays = lazy((heights, markers, mask), 4)
    watershed(*arrays[:2], mask=arrays[2], method=method).compute(scheduler="sync")
    heights[tuple(np.argwhere(mask)[-1])] = np.nan
    arrays = lazy((heights, markers, mask), 4)
    with pytest.raises(NonFiniteError, match="NaN at 1 voxels of the mask"):
        watershed(*arrays[:2], mask=arrays[2], method=method).compute(scheduler="sync")


def test_an_object_that_no_task_can_hold_is_refused_with_the_cure() -> None:
    heights, markers, mask = (da.ones(SHAPE, dtype=kind, chunks=4) for kind in ("f4", "i4", "?"))
    with pytest.raises(PlanError, match=r'ties="scikit-image".*385 voxels.*384.*ties="object"'):
        watershed(heights, markers, mask=mask, max_object_voxels=384, ties="scikit-image")
    with pytest.raises(PlanError, match=r"without a mask.*385 voxels.*384.*forest"):
        watershed(heights, markers, max_object_voxels=384)
    lazy_labels = watershed(heights, markers, mask=mask, max_object_voxels=384)
    with pytest.raises(PlanError, match=r"385 voxels.*384.*forest"):
        lazy_labels.compute(scheduler="sync")
    assert watershed(heights, markers, method="forest").compute().all()
    whole = (a.rechunk(-1) for a in (heights, markers))  # one block is no matter of limits
    assert watershed(*whole, max_object_voxels=384).compute().all()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"connectivity": 4}, ConfigError, "connectivity is 1"),
        ({"method": "forests"}, ConfigError, 'no method "forests".*did you mean "forest"'),
        ({"ties": "skimage"}, ConfigError, 'no ties "skimage".*did you mean "scikit-image"'),
        ({"method": "forest", "num_threads": 0}, ConfigError, "num_threads=0"),
        ({"max_object_voxels": 0, "mask": da.ones(SHAPE)}, ConfigError, "largest object has 0"),
        ({"markers": da.zeros(SHAPE)}, DtypeError, "got float64.*volproc.label"),
        ({"heights": da.zeros(SHAPE, dtype=bool)}, DtypeError, "got bool"),
        ({"markers": da.zeros((5, 7, 10), dtype=int)}, ShapeError, "heights and markers differ"),
        ({"mask": da.zeros((5, 7, 10), dtype=bool)}, ShapeError, "heights and mask differ"),
        (
            {"heights": da.zeros((0, 7)), "markers": da.zeros((0, 7), dtype=int)},
            ShapeError,
            "empty volume",
        ),
    ],
)
def test_what_cannot_be_flooded_is_refused_before_anything_runs(change, error, text) -> None:
    def explode(*args: Any, **kwargs: Any) -> Any:
        pytest.fail("something was computed")

    arguments = {"heights": da.zeros(SHAPE), "markers": da.zeros(SHAPE, dtype=int)} | change
    with dask.config.set(scheduler=explode), pytest.raises(error, match=text):
        watershed(arguments.pop("heights"), arguments.pop("markers"), **arguments)


DATA = Path(__file__).parents[2].parent / "shared" / "data" / "microscopy"


@pytest.mark.skipif(not DATA.exists(), reason="real nuclei are not here")
def test_crowded_nuclei_are_split_as_in_the_whole_volume() -> None:
    """51 nuclei in 12 objects; each marker is a nucleus' innermost voxel."""
    nuclei = np.asarray(volproc.open(DATA / "mask3d.tif", voxel_size=10.0).data)
    whole = tuple(slice(0, n) for n in nuclei.shape)
    depth = distance_block(nuclei, whole, 99.0, per_label=True)
    ids = np.unique(nuclei[nuclei > 0])
    markers = np.zeros(nuclei.shape, np.int32)
    markers[tuple(np.transpose(ndi.maximum_position(depth, nuclei, ids)))] = ids
    heights = -distance_block(nuclei, whole, 99.0)
    expected = watershed_skimage(heights, markers, mask=nuclei > 0)
    a, b, c = lazy((heights, markers, nuclei), (16, 30, 40))
    found = watershed(a, b, mask=c).compute()
    np.testing.assert_array_equal(found, each_object_alone(heights, markers, nuclei > 0, 1))
    assert (found != expected).sum() <= 0.001 * (nuclei > 0).sum()
    forest = watershed(a, b, mask=c, method="forest").compute()
    np.testing.assert_array_equal(forest, flood_forest(heights, markers, nuclei))


def test_tasks_may_travel(tmp_path: Path) -> None:
    heights, markers, mask = scene(9, (9, 13, 11))
    a, b, c = lazy((heights, markers, mask), (3, 6, 4))
    wanted = [
        watershed(a, b, mask=c, scratch=tmp_path),
        watershed(a, b, mask=c, method="forest", num_threads=2, scratch=tmp_path),
    ]

    def far_away(graph: Any, keys: Any, **options: Any) -> Any:
        return dask.get(pickle.loads(cloudpickle.dumps(graph)), keys)

    found = dask.compute(*wanted, scheduler=far_away)
    np.testing.assert_array_equal(found[0], each_object_alone(heights, markers, mask, 1))
    np.testing.assert_array_equal(found[1], flood_forest(heights, markers, mask))
