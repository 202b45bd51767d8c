"""Stitching: exact where blocks agree, one mask an object where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from dask.array.overlap import overlap
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage as ndi
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from volproc.core.errors import ConfigError, DtypeError, HaloError, ShapeError
from volproc.graph.stitch import segment_blocks, stitch
from volproc.reduce.stitching_grid import OverlapGrid

SHAPE = (5, 7, 11)
DATA = Path(__file__).parents[2].parent / "shared" / "data"


@st.composite
def cuts(draw: st.DrawFn, shape: tuple[int, ...] = SHAPE) -> tuple[tuple[int, ...], ...]:
    """Uneven chunks, one voxel thick too."""
    return tuple(
        tuple(np.diff([0, *sorted(draw(st.sets(st.integers(1, n - 1), max_size=2))), n]).tolist())
        for n in shape
    )


def halos(ndim: int = 3) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(1, 3)] * ndim)


def renumber(labels: np.ndarray) -> np.ndarray:
    """Ids by first voxels."""
    values, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    numbers = np.zeros(len(values), int)
    order = np.argsort(first)
    order = order[values[order] != 0]
    numbers[order] = np.arange(1, len(order) + 1)
    return numbers[inverse].reshape(labels.shape)


def shuffled(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """The same instances under random, large numbers; another draw for each content."""
    generator = np.random.default_rng([seed, int(labels.sum()), *labels.shape])
    values, inverse = np.unique(labels, return_inverse=True)
    names = generator.choice(10**9, len(values), replace=False) + 1
    names[values == 0] = 0
    return names[inverse].reshape(labels.shape)


def blocks_of(
    parts: dict[tuple[int, ...], np.ndarray], grid: OverlapGrid, dtype: Any = np.int64
) -> da.Array:
    """Lazy array of hand-made blocks."""
    return da.map_blocks(
        lambda block_id: parts[block_id].astype(dtype),
        chunks=grid.block_sizes,
        dtype=dtype,
        meta=np.empty((0,) * len(grid.halo), dtype),
    )


def compute(lazy: tuple[Any, Any], scheduler: str = "sync") -> tuple[np.ndarray, Any]:
    return dask.compute(*lazy, scheduler=scheduler)


@given(
    st.integers(0, 999), cuts(), halos(), st.sampled_from([1, 2, 3]), st.sampled_from([0.2, 0.5])
)
@settings(max_examples=10)
def test_components_of_blocks_become_those_of_the_volume(
    seed, chunks, halo, connectivity, part
) -> None:
    mask = np.random.default_rng(seed).random(SHAPE) < part
    structure = ndi.generate_binary_structure(3, connectivity)
    lazy = segment_blocks(
        da.from_array(mask, chunks=4),
        lambda block: shuffled(ndi.label(block, structure)[0], seed),
        chunks=chunks,
        halo=halo,
    )
    assert lazy[0].chunks == chunks
    labels, report = compute(lazy)
    expected, num_expected = ndi.label(mask, structure)
    np.testing.assert_array_equal(labels, expected)
    assert report.num_objects == num_expected


@given(st.integers(0, 999), cuts((9, 13)), halos(2))
@settings(max_examples=12)
def test_a_micrograph_is_stitched_too(seed, chunks, halo) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < 0.5
    lazy = segment_blocks(
        da.from_array(mask, chunks=5), lambda block: ndi.label(block)[0], chunks=chunks, halo=halo
    )
    np.testing.assert_array_equal(compute(lazy)[0], ndi.label(mask)[0])


def seen_together(labels: np.ndarray, grid: OverlapGrid) -> np.ndarray:
    """Brute force: voxels are one object if a chain of blocks gives them one label in pairs."""
    places = np.arange(labels.size).reshape(labels.shape)
    one, other = [], []
    for index in grid.indices():
        block, place = labels[grid.block(index)].ravel(), places[grid.block(index)].ravel()
        for value in np.unique(block[block > 0]):
            members = place[block == value]
            one += [members[0]] * len(members)
            other += members.tolist()
    graph = coo_matrix((np.ones(len(one)), (one, other)), shape=(labels.size,) * 2)
    sets = connected_components(graph, directed=False)[1].reshape(labels.shape) + 1
    return renumber(np.where(labels > 0, sets, 0))


@given(st.integers(0, 999), cuts(), halos(), st.integers(1, 30))
@settings(max_examples=10)
def test_scattered_pieces_of_one_label_stay_together_where_a_block_sees_two(
    seed, chunks, halo, top
) -> None:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, top + 1, SHAPE) * (generator.random(SHAPE) < 0.4)
    grid = OverlapGrid(chunks, halo)
    lazy = segment_blocks(
        da.from_array(truth), lambda block: shuffled(block, seed), chunks=chunks, halo=halo
    )
    np.testing.assert_array_equal(compute(lazy)[0], seen_together(truth, grid))


@given(st.integers(0, 999), cuts(), halos())
@settings(max_examples=6)
def test_neither_numbers_nor_workers_change_a_noisy_result(seed, chunks, halo) -> None:
    generator = np.random.default_rng(seed)
    grid = OverlapGrid(chunks, halo)
    parts = {
        index: ndi.label(generator.random([s.stop - s.start for s in grid.block(index)]) < 0.4)[0]
        for index in grid.indices()
    }
    others = {index: shuffled(part, 1) for index, part in parts.items()}
    labels, report = compute(stitch(blocks_of(parts, grid), halo=halo, chunks=chunks))
    again, other = compute(stitch(blocks_of(others, grid), halo=halo, chunks=chunks), "threads")
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(labels, renumber(labels))
    assert report.num_objects == labels.max()
    assert report.united.equals(other.united)
    assert report.unclaimed.equals(other.unclaimed)


def test_blocks_of_dasks_overlap_are_taken_as_they_are() -> None:
    mask = np.random.default_rng(5).random((20, 31)) < 0.45
    array = da.from_array(mask, chunks=(10, 8))
    halo = {0: 3, 1: 4}
    blocks = overlap(array, depth=halo, boundary="none", allow_rechunk=False)
    found = blocks.map_blocks(lambda b: ndi.label(b)[0], dtype=np.int32)
    for chunks in (None, (10, 8), ((10, 10), (8, 8, 8, 7))):
        labels, _ = stitch(found, halo=(3, 4), chunks=chunks)
        assert labels.chunks == array.chunks
        np.testing.assert_array_equal(labels.compute(scheduler="sync"), ndi.label(mask)[0])


LINE = OverlapGrid(((1,), (10, 10)), (0, 6))
"""Two blocks along x: the first sees 0:16, the second 4:20."""


def spans(*objects: tuple[int, int], start: int, size: int = 16) -> np.ndarray:
    """A line of voxels with objects from one place to another, in voxels of the volume."""
    line = np.zeros((1, size), int)
    for number, (first, stop) in enumerate(objects, 1):
        line[0, first - start : stop - start] = number
    return line


def line(one: list[tuple[int, int]], other: list[tuple[int, int]], **options: Any) -> Any:
    parts = {(0, 0): spans(*one, start=0), (0, 1): spans(*other, start=4)}
    return compute(stitch(blocks_of(parts, LINE), halo=(0, 6), chunks=(1, 10), **options))


def found(labels: np.ndarray) -> list[tuple[int, int]]:
    """Spans of the objects along a line."""
    return [(s[1].start, s[1].stop) for s in ndi.find_objects(labels.astype(int))]


def test_an_object_has_the_mask_of_the_block_with_its_centroid() -> None:
    labels, report = line([(7, 11)], [(6, 12)])  # centroids 8.5 and 8.5: the first block's
    assert found(labels) == [(7, 11)]
    labels, _ = line([(8, 13)], [(9, 14)])  # 10 and 11: the second block's
    assert found(labels) == [(9, 14)]
    assert (report.num_claims, report.num_matches, len(report.unclaimed)) == (2, 1, 0)


def test_an_object_that_two_blocks_own_is_there_once() -> None:
    labels, report = line([(7, 12)], [(8, 13)])  # 9 is in the first chunk, 10 in the second
    assert found(labels) == [(7, 12)]  # the first centroid
    assert report.num_objects == 1


def test_an_object_that_no_block_owns_has_the_largest_mask() -> None:
    labels, report = line([(9, 12)], [(7, 12)])  # 10 and 9: each in the other's chunk
    assert found(labels) == [(7, 12)]
    assert report.unclaimed["label"].tolist() == [1]
    assert not report.unclaimed["is_fragment"].any()


def test_what_a_block_cuts_off_is_no_object_beside_the_whole_one() -> None:
    labels, report = line([(12, 16)], [(12, 19)])
    assert found(labels) == [(12, 19)]
    assert (len(report.united), len(report.unclaimed)) == (0, 0)


def test_an_object_longer_than_the_halo_is_united_and_reported() -> None:
    labels, report = line([(2, 16)], [(4, 18)])
    assert found(labels) == [(2, 18)]
    row = report.united.iloc[0]
    assert row[["label", "num_fragments", "num_voxels", "x_min", "x_max"]].tolist() == [
        1, 2, 16, 2, 18,
    ]  # fmt: skip


def test_two_objects_that_touch_are_not_merged() -> None:
    labels, _ = line([(6, 10), (10, 14)], [(5, 10), (10, 15)])
    assert found(labels) == [(6, 10), (10, 15)]


def test_two_long_objects_that_touch_along_their_whole_length_are_not_merged() -> None:
    grid = OverlapGrid(((8,), (10, 10)), (0, 6))
    one, other = np.zeros((2, 8, 16), int)
    one[1:4, 2:], one[4:7, 3:] = 4, 9
    other[1:5, :13], other[5:7, :14] = 9, 4  # a row moved from one to the other
    labels, report = compute(stitch(blocks_of({(0, 0): one, (0, 1): other}, grid), halo=(0, 6)))
    expected = np.zeros((8, 20), int)
    expected[1:4, 2:10], expected[4:7, 3:10] = 1, 2
    expected[1:5, 10:17], expected[5:7, 10:18] = 1, 2
    np.testing.assert_array_equal(labels, expected)
    assert report.united["num_fragments"].tolist() == [2, 2]


def test_an_object_that_one_block_splits_is_no_chain_of_merges() -> None:
    labels, report = line([(6, 14)], [(6, 9), (9, 14)])
    assert labels.max() == 1 or found(labels) == [(6, 9), (9, 14)]
    assert len(np.unique(labels[0, 6:14])) == labels.max()
    assert report.num_objects == labels.max()


def test_without_a_partner_an_object_stays_as_its_block_saw_it() -> None:
    labels, report = line([(5, 8)], [(11, 14)])
    assert found(labels) == [(5, 8), (11, 14)]
    assert report.num_matches == 0
    labels, report = line([(11, 14)], [])  # seen from afar only
    assert found(labels) == [(11, 14)]
    assert report.unclaimed["is_fragment"].tolist() == [False]


def test_a_fragment_that_nobody_confirms_is_painted_in_its_own_chunk() -> None:
    labels, report = line([(7, 16)], [])
    assert found(labels) == [(7, 10)]
    assert report.unclaimed["is_fragment"].tolist() == [True]
    labels, report = line([(12, 16)], [])  # in the halo alone
    assert labels.max() == report.num_objects == 0


def test_twins_are_matched_by_their_first_voxels() -> None:
    """Four squares: each of one block overlaps two of the other by the same number of voxels."""
    grid = OverlapGrid(((4,), (10, 10)), (0, 6))
    one, other = np.zeros((2, 4, 16), int)
    one[:2, 8:12], one[2:, 8:12] = 1, 2
    other[:, 4:6], other[:, 6:8] = 1, 2
    results = []
    for numbers in ([0, 1, 2], [0, 2, 1]):
        parts = {(0, 0): np.take(numbers, one), (0, 1): np.take(numbers, other)}
        lazy = stitch(blocks_of(parts, grid), halo=(0, 6), min_overlap=0.4)
        results.append(compute(lazy))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1].num_matches == results[1][1].num_matches == 1


def test_the_greater_score_wins_voxels_that_two_objects_claim() -> None:
    one, other = [(4, 12)], [(9, 19)]
    for score, expected in ((0.1, [(4, 9), (9, 19)]), (0.9, [(4, 12), (12, 19)])):
        values = {(0, 0): np.full((1, 16), score), (0, 1): np.full((1, 16), 0.5)}
        scores = blocks_of(values, LINE, np.float32)
        labels, _ = line(one, other, scores=scores, min_overlap=0.7)
        assert found(labels) == expected


def test_no_object_mixes_voxels_of_two_predictions() -> None:
    """Each object is a mask that one block has predicted, less what others cover."""
    generator = np.random.default_rng(3)
    centres = np.argwhere(np.ones((4, 4))) * 8 + 6
    grid = OverlapGrid(((20, 20), (20, 20)), (8, 8))
    grid_yx = np.indices((40, 40)).transpose(1, 2, 0)
    parts, masks = {}, set()
    for index in grid.indices():
        volume = np.zeros((40, 40), int)
        for number, centre in enumerate(centres, 1):
            moved = centre + generator.normal(0, 0.4, 2)
            volume[((grid_yx - moved) ** 2).sum(-1) < 8] = number
        region = grid.block(index)
        parts[index] = volume[region]
        seen = np.zeros((40, 40), int)
        seen[region] = volume[region]
        masks |= {tuple(np.flatnonzero(seen == i)) for i in range(1, 17)}
    labels, report = compute(stitch(blocks_of(parts, grid), halo=8, chunks=(20, 20)))
    assert report.num_objects == 16
    for number in range(1, 17):
        assert tuple(np.flatnonzero(labels == number)) in masks


def test_an_object_on_a_corner_of_eight_blocks_is_one() -> None:
    grid = OverlapGrid(((9, 8), (7, 9), (8, 8)), (4, 4, 4))
    ball = (np.indices((17, 16, 16)) - np.array([9, 7, 8])[:, None, None, None]) ** 2
    truth = (ball.sum(0) <= 9).astype(int)
    parts = {i: truth[grid.block(i)] * 7 for i in grid.indices()}
    labels, report = compute(stitch(blocks_of(parts, grid), halo=4, chunks=grid.cuts))
    np.testing.assert_array_equal(labels, truth)
    assert (report.num_claims, report.num_objects, len(report.united)) == (8, 1, 0)


def test_more_than_100000_labels_in_a_block_do_not_collide() -> None:
    truth = np.zeros((640, 720), np.int32)
    truth[::2, ::2] = np.arange(1, 320 * 360 + 1).reshape(320, 360)
    labels, report = compute(
        segment_blocks(da.from_array(truth), shuffled, chunks=(640, 700), halo=(0, 8))
    )
    np.testing.assert_array_equal(labels, truth)
    assert report.num_objects == 115200


def test_one_block_is_only_numbered() -> None:
    part = np.array([[[0, 9, 9, 4], [4, 4, 0, 9]]])
    labels, report = compute(stitch(da.from_array(part), halo=0))
    np.testing.assert_array_equal(labels, [[[0, 1, 1, 2], [2, 2, 0, 1]]])
    assert (report.num_matches, len(report.united), len(report.unclaimed)) == (0, 0, 0)


def test_empty_blocks_hold_nothing() -> None:
    labels, report = compute(
        segment_blocks(da.zeros(SHAPE, dtype=int), np.copy, chunks=(2, 3, 4), halo=1)
    )
    assert not labels.any()
    assert labels.shape == SHAPE
    assert report.num_objects == report.num_claims == len(report.united) == 0


def zeros(*shape: int, chunks: Any = -1, dtype: Any = int) -> da.Array:
    return da.zeros(shape, chunks=chunks, dtype=dtype)


@pytest.mark.parametrize(
    ("blocks", "options", "error", "text"),
    [
        (zeros(4, 20, dtype=float), {"halo": 2}, DtypeError, "integers, got float64"),
        (
            zeros(4, 20, chunks=(4, 10)),
            {"halo": 0},
            HaloError,
            "along x is 0, and there are 2 chunks",
        ),
        (zeros(4, 20, chunks=(4, 10)), {"halo": -1}, HaloError, "along y is -1"),
        (zeros(4, 20), {"halo": (1, 1, 1)}, ShapeError, r"\(y, x\), got \(1, 1, 1\)"),
        (zeros(4, 20), {"halo": 1, "chunks": (4,)}, ShapeError, r"chunks have one entry an axis"),
        (zeros(4, 20), {"halo": 1, "min_overlap": 1.0}, ConfigError, "below 1, got 1.0"),
        (
            zeros(4, 20, chunks=(4, 10)),
            {"halo": 2, "chunks": (4, 9)},
            ShapeError,
            r"chunks of \(9, 8\) voxels along x and a halo of 2 make blocks of \(11, 10\), "
            r"got \(10, 10\)",
        ),
        (zeros(4, 20, chunks=(4, 2)), {"halo": 2}, ShapeError, "at least one voxel"),
        (zeros(4, 20), {"halo": 1, "dtype": float}, DtypeError, "integers, got dtype float64"),
        (zeros(20), {"halo": 2}, ShapeError, r"got shape \(20,\)"),
        (zeros(0, 20), {"halo": 2}, ShapeError, r"got shape \(0, 20\)"),
        (
            zeros(4, 20, chunks=(4, 10)),
            {"halo": 2, "scores": zeros(4, 20, dtype=float)},
            ShapeError,
            "scores have chunks",
        ),
    ],
)
def test_blocks_that_cannot_be_stitched_are_refused(blocks, options, error, text) -> None:
    with pytest.raises(error, match=text):
        stitch(blocks, **options)
