"""Functions of whole objects: each object in one piece, once, for every cut."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi

from volproc.core.errors import ConfigError, DtypeError, PlanError, ShapeError
from volproc.graph import object_pieces
from volproc.graph.object_pieces import Cut
from volproc.graph.whole_objects import map_objects, paint_objects

SHAPE = (5, 7, 11)


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def random_mask(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.random(shape) < rng.choice([0.2, 0.45, 0.7])


def table_of(cut: Cut) -> np.ndarray:
    """First voxel, class, size, sum of the first array, and box of each object in the volume."""
    rows = []
    for k in range(1, cut.num_objects + 1):
        inside = cut.labels == k
        values = cut.arrays[0][inside].sum() if cut.arrays else 0
        box = [*(cut.lower[k - 1] + cut.offset), *(cut.upper[k - 1] + cut.offset)]
        rows.append([cut.first[k - 1], cut.classes[k - 1], inside.sum(), values, *box])
    return np.array(rows, np.int64)


def merge(parts: list[np.ndarray]) -> np.ndarray:
    """One table, by first voxel."""
    full = [part for part in parts if len(part)]
    if not full:
        return np.zeros((0, 0), np.int64)
    table = np.concatenate(full)
    return table[np.argsort(table[:, 0])]


def expected_table(mask: np.ndarray, values: np.ndarray, connectivity: int) -> np.ndarray:
    """The same, from the whole volume, class by class."""
    rows = []
    for value in np.unique(mask[mask > 0]):
        objects, count = ndi.label(
            mask == value, ndi.generate_binary_structure(mask.ndim, connectivity)
        )
        for k, box in enumerate(ndi.find_objects(objects), 1):
            inside = objects == k
            first = np.flatnonzero(inside)[0]
            corners = [s.start for s in box], [s.stop for s in box]
            rows.append(
                [first, value, inside.sum(), values[inside].sum(), *corners[0], *corners[1]]
            )
        assert count == len(rows) or value > 1
    return merge([np.array(rows, np.int64)] if rows else [])


@settings(max_examples=12)
@given(st.integers(0, 999), cuts(), st.sampled_from([1, 2, 3]), st.integers(0, 2))
def test_every_object_is_seen_whole_and_once(seed, chunks, connectivity, margin) -> None:
    mask = random_mask(seed).astype(np.uint8)
    mask[:, 3:] *= 2  # two classes
    values = np.random.default_rng(seed).integers(0, 99, SHAPE)
    lazy = map_objects(
        da.from_array(mask, chunks=chunks),
        table_of,
        merge,
        arrays=[da.from_array(values, chunks=chunks)],
        connectivity=connectivity,
        margin=margin,
    )
    np.testing.assert_array_equal(
        lazy.compute(scheduler="sync"), expected_table(mask, values, connectivity)
    )


def surroundings(cut: Cut) -> np.ndarray:
    """Sum of all values at most two voxels from each object's box: needs the margin."""
    rows = []
    for k in range(cut.num_objects):
        box = tuple(
            slice(max(0, a - 2), b + 2) for a, b in zip(cut.lower[k], cut.upper[k], strict=True)
        )
        rows.append([cut.first[k], cut.arrays[0][box].sum()])
    return np.array(rows, np.int64)


@settings(max_examples=12)
@given(st.integers(0, 999), cuts())
def test_the_margin_holds_what_is_around_an_object(seed, chunks) -> None:
    mask = random_mask(seed)
    values = np.random.default_rng(seed).integers(0, 99, SHAPE)
    objects, _ = ndi.label(mask)
    rows = [
        [
            np.flatnonzero(objects == k)[0],
            values[tuple(slice(max(0, s.start - 2), s.stop + 2) for s in box)].sum(),
        ]
        for k, box in enumerate(ndi.find_objects(objects), 1)
    ]
    lazy = map_objects(
        da.from_array(mask, chunks=chunks),
        surroundings,
        merge,
        arrays=[da.from_array(values, chunks=chunks)],
        margin=2,
    )
    expected = merge([np.array(rows, np.int64)])
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def sizes(cut: Cut) -> np.ndarray:
    return np.bincount(cut.labels.reshape(-1))[cut.labels].astype(np.uint16)


@settings(max_examples=12)
@given(st.integers(0, 999), cuts(), st.sampled_from([1, 3]), st.integers(0, 2))
def test_objects_are_painted_whole(seed, chunks, connectivity, margin) -> None:
    mask = random_mask(seed)
    objects, _ = ndi.label(mask, ndi.generate_binary_structure(3, connectivity))
    expected = np.where(mask, np.bincount(objects.reshape(-1))[objects], 0)
    lazy = paint_objects(
        da.from_array(mask, chunks=chunks),
        sizes,
        np.uint16,
        connectivity=connectivity,
        margin=margin,
    )
    assert (lazy.chunks, lazy.dtype) == (chunks, np.uint16)
    np.testing.assert_array_equal(lazy.compute(scheduler="sync"), expected)


def test_a_micrograph_has_objects_too() -> None:
    mask = random_mask(1, (23, 31))
    objects, _ = ndi.label(mask, np.ones((3, 3)))
    expected = np.where(mask, np.bincount(objects.reshape(-1))[objects], 0)
    lazy = paint_objects(da.from_array(mask, chunks=(5, 6)), sizes, np.uint16, connectivity=2)
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_many_blocks_go_through_every_level_of_the_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_pieces, "FLUSH_VOXELS", 3)  # many files a chunk
    mask = random_mask(4, (17, 19, 23))
    objects, _ = ndi.label(mask)
    lazy = paint_objects(da.from_array(mask, chunks=(1, 19, 2)), sizes, np.uint16)
    assert lazy.npartitions > 16 * 12
    expected = np.where(mask, np.bincount(objects.reshape(-1))[objects], 0)
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_chunks_of_another_array_may_differ() -> None:
    mask = random_mask(5)
    values = np.arange(mask.size).reshape(SHAPE)
    lazy = map_objects(
        da.from_array(mask, chunks=3),
        table_of,
        merge,
        arrays=[da.from_array(values, chunks=(5, 2, 4))],
    )
    np.testing.assert_array_equal(lazy.compute(), expected_table(mask, values, 1))


def test_each_chunk_is_computed_once() -> None:
    calls: list[str] = []

    def counted(block: np.ndarray, what: str) -> np.ndarray:
        calls.append(what)
        return block

    meta = np.empty((0, 0, 0), bool)
    source = da.from_array(random_mask(6), chunks=3)
    mask = source.map_blocks(counted, what="mask", dtype=bool, meta=meta)
    other = source.map_blocks(counted, what="other", dtype=bool, meta=meta)
    lazy = paint_objects(mask, sizes, np.uint16, arrays=[other], margin=1)
    lazy.compute(scheduler="sync")
    assert calls.count("mask") == calls.count("other") == source.npartitions


@pytest.mark.parametrize(
    "mask", [np.zeros(SHAPE, bool), np.ones(SHAPE, bool), np.eye(7, 11)[None].repeat(2, 0) > 0]
)
def test_empty_full_and_slanted_masks_work(mask) -> None:
    values = np.ones(mask.shape, int)
    lazy = da.from_array(mask, chunks=2)
    table = map_objects(lazy, table_of, merge, arrays=[da.from_array(values, chunks=2)]).compute()
    np.testing.assert_array_equal(table, expected_table(mask, values, 1))
    np.testing.assert_array_equal(paint_objects(lazy, sizes, np.uint16).compute() > 0, mask)


def test_the_scratch_goes_with_the_array(tmp_path: Path) -> None:
    mask = da.from_array(random_mask(7), chunks=2)
    painted = paint_objects(mask, sizes, np.uint16, scratch=tmp_path)
    table = map_objects(mask, table_of, merge, scratch=tmp_path)
    assert list(tmp_path.iterdir()) == []
    dask.compute(painted, table)
    assert len(list(tmp_path.iterdir())) == 2
    del painted, table
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_no_task_can_hold_is_refused_with_the_cure() -> None:
    mask = da.from_array(np.ones(SHAPE, bool), chunks=4)
    with pytest.raises(PlanError, match=r"voxel \(0, 0, 0\).* 5 × 7 × 11 = 385 .*384.*forest"):
        map_objects(mask, table_of, merge, max_object_voxels=384).compute()
    map_objects(mask, table_of, merge, max_object_voxels=385).compute()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"margin": -1}, ConfigError, "margin is -1"),
        ({"max_object_voxels": 0}, ConfigError, "largest object has 0"),
        ({"connectivity": 4}, ConfigError, "connectivity"),
        ({"arrays": [da.zeros((5, 7, 12))]}, ShapeError, "differ in shape"),
        ({"mask": da.zeros(SHAPE)}, DtypeError, "got float64"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], error, text) -> None:
    arguments = {"mask": da.ones(SHAPE, dtype=bool)} | options
    with pytest.raises(error, match=text):
        map_objects(arguments.pop("mask"), table_of, merge, **arguments)


def test_chunks_that_may_not_be_written_into_are_read_all_the_same() -> None:
    mask = da.ones(SHAPE, dtype=bool, chunks=3)  # Dask's constant chunks are views of one number
    assert (paint_objects(mask, sizes, np.uint16).compute() == 385).all()
